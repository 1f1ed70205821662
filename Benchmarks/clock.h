// What both of the benchmark's C programs share: a clock, latencies, and the one line of JSON they end with.
#ifndef CULVERT_BENCH_CLOCK_H
#define CULVERT_BENCH_CLOCK_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { SAMPLES = 4 << 20 };

// In steps of 100 ns: up to 429 s.
static uint32_t samples[SAMPLES];
static size_t sampled;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sample(uint64_t nanoseconds) {
    uint64_t steps = nanoseconds / 100;
    if (sampled < SAMPLES) samples[sampled++] = steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

// CPU time that this process has used, in seconds.
static double used(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// `cpu`: what this process used for it, in seconds; `also`: one more figure, or NULL.
static void report_with(uint64_t count, uint64_t lost, double seconds, double cpu, const char *also, uint64_t figure) {
    qsort(samples, sampled, sizeof *samples, by_value);
    double p50 = sampled ? samples[sampled / 2] / 1e1 : 0, p99 = sampled ? samples[sampled * 99 / 100] / 1e1 : 0;
    printf("{\"count\":%llu,\"failed\":%llu,\"seconds\":%.3f,\"rate\":%.1f,\"p50\":%.1f,\"p99\":%.1f,\"cpu\":%.3f",
           (unsigned long long)count, (unsigned long long)lost, seconds, count / seconds, p50, p99, cpu);
    if (also) printf(",\"%s\":%llu", also, (unsigned long long)figure);
    puts("}");
    fflush(stdout);
}

static void report(uint64_t count, uint64_t lost, double seconds, double cpu) {
    report_with(count, lost, seconds, cpu, NULL, 0);
}

#endif
