#include "runtime/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 2000 }; /* 2000 relaxed loads: some microseconds, then the thread sleeps */

typedef struct Worker { RtPool *pool; int index; pthread_t thread; } Worker;

/* A job is published by `round`: fields above it are written before and read after. `left` counts workers that have not
 * ended the round; the caller waits for 0. Both are also guarded by the mutex for sleepers. */
struct RtPool {
  int threads, started;
  atomic_flag busy;
  size_t n;
  popshift_task *task;
  void *arg;
  atomic_uint round;
  atomic_int left, stop;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
  Worker workers[MAX_THREADS];
};

/* floor(n*t/threads) without overflow. */
static size_t bound(size_t n, int t, int threads) {
  size_t k = (size_t)threads, i = (size_t)t;
  return n / k * i + n % k * i / k;
}

static void run_piece(RtPool *p, int t) {
  size_t begin = bound(p->n, t, p->threads), end = bound(p->n, t + 1, p->threads);
  if (begin < end)
    p->task(p->arg, begin, end);
}

static unsigned wait_round(RtPool *p, unsigned seen) {
  for (int i = 0; i < SPINS; i++) {
    unsigned r = atomic_load_explicit(&p->round, memory_order_acquire);
    if (r != seen)
      return r;
  }
  pthread_mutex_lock(&p->lock);
  unsigned r;
  while ((r = atomic_load_explicit(&p->round, memory_order_acquire)) == seen)
    pthread_cond_wait(&p->wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
  return r;
}

static void *worker_main(void *arg) {
  Worker *w = arg;
  RtPool *p = w->pool;
  unsigned seen = 0;
  for (;;) {
    seen = wait_round(p, seen);
    if (atomic_load_explicit(&p->stop, memory_order_acquire))
      return NULL;
    run_piece(p, w->index);
    if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_acq_rel) == 1) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
  }
}

static void publish(RtPool *p) {
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add_explicit(&p->round, 1, memory_order_release);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

RtPool *rt_pool_new(int threads) {
  if (threads == 0) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    threads = online < 1 ? 1 : online > MAX_THREADS ? MAX_THREADS : (int)online;
  }
  if (threads < 1 || threads > MAX_THREADS)
    return NULL;
  RtPool *p = calloc(1, sizeof *p);
  if (!p)
    return NULL;
  p->threads = threads;
  atomic_flag_clear(&p->busy);
  atomic_init(&p->round, 0);
  atomic_init(&p->left, 0);
  atomic_init(&p->stop, 0);
  if (pthread_mutex_init(&p->lock, NULL)) {
    free(p);
    return NULL;
  }
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  for (int t = 1; t < threads; t++) {
    Worker *w = &p->workers[t];
    w->pool = p;
    w->index = t;
    if (pthread_create(&w->thread, NULL, worker_main, w)) {
      rt_pool_free(p);
      return NULL;
    }
    p->started++;
  }
  return p;
}

void rt_pool_free(RtPool *p) {
  if (!p)
    return;
  atomic_store_explicit(&p->stop, 1, memory_order_release);
  publish(p);
  for (int t = 1; t <= p->started; t++)
    pthread_join(p->workers[t].thread, NULL);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  free(p);
}

int rt_pool_threads(const RtPool *p) {
  return p->threads;
}

void rt_pool_for(void *user, size_t n, popshift_task *task, void *arg) {
  RtPool *p = user;
  if (n == 0)
    return;
  if (p->threads == 1 || n == 1 || atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire)) {
    task(arg, 0, n);
    return;
  }
  p->n = n;
  p->task = task;
  p->arg = arg;
  atomic_store_explicit(&p->left, p->threads - 1, memory_order_relaxed);
  publish(p);
  run_piece(p, 0);
  for (int i = 0; i < SPINS && atomic_load_explicit(&p->left, memory_order_acquire); i++)
    ;
  if (atomic_load_explicit(&p->left, memory_order_acquire)) {
    pthread_mutex_lock(&p->lock);
    while (atomic_load_explicit(&p->left, memory_order_acquire))
      pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
  }
  atomic_flag_clear_explicit(&p->busy, memory_order_release);
}
