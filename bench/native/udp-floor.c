// The floor: the least any agent can do with a request over UDP, in C, with as few system calls as the kernel allows. It
// parses, takes the next of five hosts and answers; it has no routes, no balancer and no statistics. What an agent
// achieves is quoted as a share of this, measured in the same minute.
//
//   udp-floor --port 8888 --shards 3
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "measure.h"

#define BATCH 128
static int base_port;

static void *serve(void *argument) {
  int shard = (int)(intptr_t)argument, size = 4 << 20;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(base_port + shard))};
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0) {
    perror("bind");
    exit(1);
  }
  static __thread uint8_t in[BATCH][2048], out[BATCH][64];
  static __thread struct sockaddr_in from[BATCH];
  static __thread struct mmsghdr received[BATCH], answers[BATCH];
  static __thread struct iovec in_parts[BATCH], out_parts[BATCH];
  uint32_t next = 0;
  for (;;) {
    for (int i = 0; i < BATCH; i++) {
      in_parts[i] = (struct iovec){in[i], sizeof in[i]};
      received[i].msg_hdr = (struct msghdr){
          .msg_iov = &in_parts[i], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
    }
    int count = recvmmsg(fd, received, BATCH, MSG_WAITFORONE, NULL), answered = 0;
    for (int i = 0; i < count; i++) {
      int length = (int)received[i].msg_len, at = 8;
      int32_t msgid;
      if (length < 8) continue;
      memcpy(&msgid, in[i], 4);
      if (msgid != GET_HOST) continue;
      uint64_t fields[4] = {0};
      while (at < length) {
        uint64_t tag = get_varint(in[i], &at, length), value = get_varint(in[i], &at, length);
        if (tag >> 3 < 4) fields[tag >> 3] = value;
      }
      uint8_t host[24], *answer = out[answered];
      int host_length = put_field(host, 1, (uint64_t)(int64_t)(int32_t)(3232235778u + next++ % 5));
      host_length += put_field(host + host_length, 2, 7001);
      int n = 8;
      for (int field = 1; field <= 3; field++) n += put_field(answer + n, field, fields[field]);
      answer[n++] = 42;
      answer[n++] = (uint8_t)host_length;
      memcpy(answer + n, host, (size_t)host_length);
      n = seal(answer, HOST, n + host_length);
      out_parts[answered] = (struct iovec){answer, (size_t)n};
      answers[answered].msg_hdr = (struct msghdr){
          .msg_iov = &out_parts[answered], .msg_iovlen = 1, .msg_name = &from[i], .msg_namelen = sizeof from[i]};
      answered++;
    }
    for (int sent = 0; sent < answered;) {
      int some = sendmmsg(fd, answers + sent, (unsigned)(answered - sent), 0);
      if (some < 0) break;
      sent += some;
    }
  }
  return NULL;
}

int main(int count, char **values) {
  base_port = (int)number(count, values, "--port", 8888);
  long shards = number(count, values, "--shards", 3);
  pthread_t thread;
  for (long i = 0; i < shards; i++) pthread_create(&thread, NULL, serve, (void *)(intptr_t)i);
  printf("{\"ready\":true}\n");
  fflush(stdout);
  pause();
}
