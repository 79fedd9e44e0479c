// What the load generators share: a clock, a latency histogram of bounded error, and the way results leave: one line of
// JSON on standard output, so that whoever started the program needs no format of its own.
#ifndef MEASURE_H
#define MEASURE_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

// Buckets grow by 1/32 of a power of two: an error of 3 % at most, from 1 ns to hours, in 2,048 counters.
#define SUB_BITS 5
#define BUCKETS (64 << SUB_BITS)
typedef struct {
  uint64_t count, max;
  uint64_t buckets[BUCKETS];
} histogram;

static inline int bucket_of(uint64_t ns) {
  if (ns < (1u << SUB_BITS)) return (int)ns;
  int exponent = 63 - __builtin_clzll(ns);
  return ((exponent - SUB_BITS + 1) << SUB_BITS) | (int)((ns >> (exponent - SUB_BITS)) & ((1 << SUB_BITS) - 1));
}

static inline uint64_t bucket_value(int bucket) {
  if (bucket < (1 << SUB_BITS)) return (uint64_t)bucket;
  int exponent = (bucket >> SUB_BITS) + SUB_BITS - 1;
  uint64_t fraction = (uint64_t)(bucket & ((1 << SUB_BITS) - 1));
  return (1ull << exponent) + (fraction << (exponent - SUB_BITS)) + (1ull << (exponent - SUB_BITS)) / 2;
}

static inline void record(histogram *h, uint64_t ns) {
  h->count++;
  if (ns > h->max) h->max = ns;
  h->buckets[bucket_of(ns)]++;
}

static inline void merge(histogram *into, const histogram *from) {
  into->count += from->count;
  if (from->max > into->max) into->max = from->max;
  for (int i = 0; i < BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

static inline double quantile_us(const histogram *h, double q) {
  uint64_t wanted = (uint64_t)(q * (double)h->count), seen = 0;
  for (int i = 0; i < BUCKETS; i++) {
    seen += h->buckets[i];
    if (seen > wanted) return (double)bucket_value(i) / 1000.0;
  }
  return (double)h->max / 1000.0;
}

// Processor time of the generator itself: what it could do alone on a processor follows from it.
static inline double own_cpu_us(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static inline void print_latency(const histogram *h) {
  printf("\"ownCpuUs\":%.0f,\"p50us\":%.1f,\"p90us\":%.1f,\"p99us\":%.1f,\"p999us\":%.1f,\"maxus\":%.1f", own_cpu_us(), quantile_us(h, .5),
         quantile_us(h, .9), quantile_us(h, .99), quantile_us(h, .999), (double)h->max / 1000.0);
}

// The value after `name` on the command line, or `fallback`.
static inline const char *option(int count, char **values, const char *name, const char *fallback) {
  for (int i = 1; i + 1 < count; i++)
    if (strcmp(values[i], name) == 0) return values[i + 1];
  return fallback;
}

static inline long number(int count, char **values, const char *name, long fallback) {
  const char *text = option(count, values, name, NULL);
  if (text == NULL) return fallback;
  char *end;
  long value = strtol(text, &end, 10);
  if (*end != 0) {
    fprintf(stderr, "%s: expected a whole number, got \"%s\"\n", name, text);
    exit(2);
  }
  return value;
}
#endif
