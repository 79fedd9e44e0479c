// The few messages of the Lars wire protocol that a load generator speaks: an 8-byte header (message id and length,
// little-endian) and a protobuf body.
#ifndef FRAME_H
#define FRAME_H
#include <stdint.h>
#include <string.h>

enum { GET_ROUTE = 1, ROUTE = 2, GET_HOST = 4, HOST = 5, REPORT = 6 };

static inline int put_varint(uint8_t *out, uint64_t value) {
  int n = 0;
  for (; value > 127; value >>= 7) out[n++] = (uint8_t)(value & 127) | 128;
  out[n++] = (uint8_t)value;
  return n;
}

static inline uint64_t get_varint(const uint8_t *in, int *at, int end) {
  uint64_t value = 0;
  for (int shift = 0; *at < end && shift < 70; shift += 7) {
    uint8_t byte = in[(*at)++];
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) break;
  }
  return value;
}

static inline int put_field(uint8_t *out, int field, uint64_t value) {
  int n = put_varint(out, (uint64_t)field << 3);
  return n + put_varint(out + n, value);
}

static inline int seal(uint8_t *frame, int32_t msgid, int length) {
  int32_t body = length - 8;
  memcpy(frame, &msgid, 4);
  memcpy(frame + 4, &body, 4);
  return length;
}

static inline int put_get_route(uint8_t *out, int modid, int cmdid) {
  int n = 8;
  n += put_field(out + n, 1, (uint64_t)modid);
  n += put_field(out + n, 2, (uint64_t)cmdid);
  return seal(out, GET_ROUTE, n);
}

static inline int put_get_host(uint8_t *out, uint32_t seq, int modid, int cmdid) {
  int n = 8;
  n += put_field(out + n, 1, seq);
  n += put_field(out + n, 2, (uint64_t)modid);
  n += put_field(out + n, 3, (uint64_t)cmdid);
  return seal(out, GET_HOST, n);
}

// `host`: the bytes of a HostInfo as they came.
static inline int put_report(uint8_t *out, int modid, int cmdid, const uint8_t *host, int length, uint32_t latency_us) {
  int n = 8;
  n += put_field(out + n, 1, (uint64_t)modid);
  n += put_field(out + n, 2, (uint64_t)cmdid);
  out[n++] = 26;
  n += put_varint(out + n, (uint64_t)length);
  memcpy(out + n, host, (size_t)length);
  n += length;
  if (latency_us > 0) n += put_field(out + n, 16, latency_us);
  return seal(out, REPORT, n);
}

typedef struct {
  uint32_t seq;
  int modid, cmdid, retcode, host_length;
  const uint8_t *host;
} host_answer;

static inline int read_host_answer(const uint8_t *in, int length, host_answer *answer) {
  memset(answer, 0, sizeof *answer);
  int32_t msgid;
  if (length < 8) return 0;
  memcpy(&msgid, in, 4);
  if (msgid != HOST) return 0;
  for (int at = 8; at < length;) {
    uint64_t tag = get_varint(in, &at, length);
    if ((tag & 7) == 2) {
      int size = (int)get_varint(in, &at, length);
      if (size < 0 || at + size > length) return 0;
      if (tag >> 3 == 5) answer->host = in + at, answer->host_length = size;
      at += size;
      continue;
    }
    uint64_t value = get_varint(in, &at, length);
    if (tag >> 3 == 1) answer->seq = (uint32_t)value;
    else if (tag >> 3 == 2) answer->modid = (int)value;
    else if (tag >> 3 == 3) answer->cmdid = (int)value;
    else if (tag >> 3 == 4) answer->retcode = (int)value;
  }
  return 1;
}
#endif
