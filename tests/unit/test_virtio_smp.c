/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_virtio_smp - a driver and the device on two processors, in the same memory: no chain, kick or interrupt may be lost
 * between an index and a wish to be told. The device's thread runs the library; the driver's half is here, with the
 * barriers of 2.7.13. Who waits for what never comes fails after a while; the ThreadSanitizer looks at the rest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/virtio_rig.h"

#define CHAINS 60000u
#define USED_EVENT (RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE)
#define AVAIL_EVENT (RIG_USED(0) + 4 + 8 * RIG_QUEUE)

struct pair {
    struct rig rig; /* first */
    sem_t kick, irq;
    bool stop; /* before the last kick */
    bool events;
    uint16_t avail, told, used;
    uint16_t spare[RIG_QUEUE];
    uint32_t nspare, sent, got;
};

static int32_t raised(const struct vfu_host *host, uint32_t vector)
{
    struct pair *p = host->ctx;

    if (vector == 1)
        sem_post(&p->irq);
    return 0;
}

static void *device(void *arg)
{
    struct pair *p = arg;

    for (sem_wait(&p->kick); !p->stop; sem_wait(&p->kick)) {
        vfu_virtio_doorbell(&p->rig.v, 0, 0);
        rig_serve(&p->rig, 1000);
    }
    return NULL;
}

static uint16_t *word(struct pair *p, uint64_t addr)
{
    return (uint16_t *)(void *)(p->rig.memory + (addr - RIG_BASE));
}

static uint16_t look(struct pair *p, uint64_t addr)
{
    return __atomic_load_n(word(p, addr), __ATOMIC_ACQUIRE);
}

static void tell(struct pair *p, uint64_t addr, uint16_t value)
{
    __atomic_store_n(word(p, addr), value, __ATOMIC_RELEASE);
    __sync_synchronize();
}

static void offer(struct pair *p, uint32_t n)
{
    bool wanted;

    for (; n && p->nspare && p->sent < CHAINS; n--, p->sent++) {
        uint16_t head = p->spare[--p->nspare];

        rig_desc(&p->rig, RIG_DESC(0), head, RIG_BUFFER + 64 * head, 8, VFU_VIRTQ_DESC_WRITE, 0);
        *word(p, RIG_AVAIL(0) + 4 + 2 * (p->avail++ % RIG_QUEUE)) = head;
    }
    tell(p, RIG_AVAIL(0) + 2, p->avail);
    wanted = !p->events || (uint16_t)(p->avail - look(p, AVAIL_EVENT) - 1) < (uint16_t)(p->avail - p->told);
    p->told = p->avail;
    if (wanted)
        sem_post(&p->kick);
}

static void take(struct pair *p)
{
    for (uint16_t idx = look(p, RIG_USED(0) + 2); p->used != idx; p->got++)
        p->spare[p->nspare++] = (uint16_t)rig_peek(&p->rig, RIG_USED(0) + 4 + 8 * (p->used++ % RIG_QUEUE), 4);
}

/* False: the device owes something and says nothing. */
static bool wait_for_some(struct pair *p)
{
    uint32_t before = p->got;
    struct timespec late;

    for (take(p); p->got == before; take(p)) {
        if (p->events)
            tell(p, USED_EVENT, p->used);
        if (look(p, RIG_USED(0) + 2) != p->used)
            continue;
        clock_gettime(CLOCK_REALTIME, &late);
        late.tv_sec += 30;
        if (sem_timedwait(&p->irq, &late))
            return false;
    }
    return true;
}

static void two_processors(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        struct pair *p = calloc(1, sizeof *p);
        uint32_t random = 1;
        pthread_t thread;

        assert_non_null(p);
        assert_true(rig_new(&p->rig, i & 1 ? RIG_VALUE : RIG_MAPPED));
        p->rig.host.irq_raise = raised;
        p->events = i & 2;
        sem_init(&p->kick, 0, 0);
        sem_init(&p->irq, 0, 0);
        while (p->nspare < RIG_QUEUE) {
            p->spare[p->nspare] = (uint16_t)p->nspare;
            p->nspare++;
        }
        rig_start(&p->rig, p->events ? VFU_VIRTIO_F_EVENT_IDX : 0);
        assert_int_equal(pthread_create(&thread, NULL, device, p), 0);
        while (p->got < CHAINS) {
            random = random * 1103515245 + 12345;
            offer(p, 1 + (random >> 16) % RIG_QUEUE);
            if (p->sent != p->got && !wait_for_some(p))
                fail_msg("%u chains are with the device, which says nothing", p->sent - p->got);
        }
        p->stop = true;
        sem_post(&p->kick);
        pthread_join(thread, NULL);
        assert_int_equal(p->rig.errors, 0);
        assert_int_equal(p->rig.nchains, CHAINS);
        sem_destroy(&p->kick);
        sem_destroy(&p->irq);
        rig_free(&p->rig);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(two_processors) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
