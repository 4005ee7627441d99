/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq - see irq.h. Runs on the device's thread; nothing here is shared. Only irq_new allocates.
 *
 * Three things keep an interrupt back: the client's mask (SET_IRQS, and the automask of INTx), the guest's mask
 * (command register, MSI mask bits, MSI-X table and function mask) and a missing eventfd. Every path that lifts one of
 * them ends in deliver() or intx_refresh(), which look at all three.
 *
 * The client's descriptors. A client may send anything that is a descriptor, so only eventfds are taken: writing to a
 * pipe, a socket or a terminal could sleep, raise SIGPIPE or put bytes where they do harm. An eventfd can sleep too,
 * when its counter is full. O_NONBLOCK is a flag of the open file that we share with the client, and setting it would
 * break a client that waits in read(): it is left as it is found, and an eventfd without it is polled before each
 * write. What remains is a client that fills its counter between the two, or that clears O_NONBLOCK later: it stops
 * its own device's thread inside write(), which any handled signal ends (EINTR is not retried). Nothing better is to be
 * had: pwritev2(RWF_NOWAIT) is not for eventfds, and a completion of io_submit, which never sleeps, takes three system
 * calls where one will do.
 */
#include "core/pci/irq_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- making one ---------------------------------------------------------------------------------------------- */

static void table_reset(struct irq *irq)
{
    memset(irq->table, 0, irq_table_size(irq));
    for (uint32_t v = 0; v < irq->count[VFIO_PCI_MSIX_IRQ_INDEX]; v++)
        irq->table[v * IRQ_ENTRY_SIZE + IRQ_ENTRY_CONTROL] = IRQ_ENTRY_MASKED;
    memset(irq->controlled, 0, irq_pba_size(irq));
}

int irq_new(struct irq **out, const char *who, bool intx, uint32_t msi_vectors, uint32_t msix_vectors)
{
    struct irq *irq;

    if (msi_vectors > IRQ_MSI_MAX || msix_vectors > IRQ_MSIX_MAX) {
        log_error(who, "interrupts: %u MSI and %u MSI-X vectors, at most %u and %u can be", msi_vectors, msix_vectors,
                  IRQ_MSI_MAX, IRQ_MSIX_MAX);
        return -EINVAL;
    }
    irq = calloc(1, sizeof *irq);
    if (!irq)
        return -ENOMEM;
    irq->who = who;
    irq->kind = IRQ_NO_KIND;
    irq->count[VFIO_PCI_INTX_IRQ_INDEX] = intx;
    irq->count[VFIO_PCI_MSI_IRQ_INDEX] = msi_vectors;
    irq->count[VFIO_PCI_MSIX_IRQ_INDEX] = msix_vectors;
    irq->count[VFIO_PCI_ERR_IRQ_INDEX] = 1;
    irq->count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
    for (uint32_t index = 0; index < IRQ_INDEXES; index++) {
        irq->vectors[index] = calloc(irq->count[index] + 1, sizeof *irq->vectors[index]);
        if (!irq->vectors[index])
            goto no_memory;
        for (uint32_t v = 0; v < irq->count[index]; v++)
            for (int action = 0; action < IRQ_ACTIONS; action++)
                irq->vectors[index][v].on[action].fd = -1;
        if (index <= VFIO_PCI_MSIX_IRQ_INDEX && irq->count[index] > irq->max_vectors)
            irq->max_vectors = irq->count[index];
    }
    irq->table = calloc(1, irq_table_size(irq) + 1);
    irq->pba = calloc(1, irq_pba_size(irq) + 1);
    irq->controlled = calloc(1, irq_pba_size(irq) + 1);
    if (!irq->table || !irq->pba || !irq->controlled)
        goto no_memory;
    table_reset(irq);
    *out = irq;
    return 0;

no_memory:
    irq_free(irq);
    return -ENOMEM;
}

static void notifier_close(struct irq_notifier *on)
{
    if (on->fd >= 0)
        close(on->fd);
    on->fd = -1;
}

/* All that a client has set on an index. */
static void forget(struct irq *irq, uint32_t index)
{
    for (uint32_t v = 0; v < irq->count[index]; v++) {
        for (int action = 0; action < IRQ_ACTIONS; action++)
            notifier_close(&irq->vectors[index][v].on[action]);
        irq->vectors[index][v].masked = false;
    }
    irq->armed[index] = false;
}

void irq_free(struct irq *irq)
{
    if (!irq)
        return;
    for (uint32_t index = 0; index < IRQ_INDEXES; index++) {
        if (irq->vectors[index])
            forget(irq, index);
        free(irq->vectors[index]);
    }
    free(irq->table);
    free(irq->pba);
    free(irq->controlled);
    free(irq);
}

int irq_info(const struct irq *irq, uint32_t index, struct vfio_irq_info *info)
{
    if (index >= IRQ_INDEXES)
        return -EINVAL;
    memset(info, 0, sizeof *info);
    info->argsz = sizeof *info;
    info->index = index;
    info->count = irq->count[index];
    info->flags = VFIO_IRQ_INFO_EVENTFD;
    if (index == VFIO_PCI_INTX_IRQ_INDEX)
        info->flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    return 0;
}

/* ---- signalling ---------------------------------------------------------------------------------------------- */

/* 0: signalled, or the counter is full, which tells the client as much. -ENOENT: nobody listens. */
static int notify(struct irq *irq, const struct irq_notifier *on)
{
    const uint64_t one = 1;
    struct pollfd ready = {.fd = on->fd, .events = POLLOUT};

    if (on->fd < 0)
        return -ENOENT;
    if (on->blocks && (poll(&ready, 1, 0) <= 0 || !(ready.revents & POLLOUT)))
        return 0;
    if (write(on->fd, &one, sizeof one) >= 0 || errno == EAGAIN)
        return 0;
    log_limited(&irq->limit, irq->who, LOG_WARN, "interrupts: writing to the client's eventfd: %s", strerror(errno));
    return -ENOENT;
}

/* The client's trigger of a vector, which is told of if somebody listens. */
static int trigger(struct irq *irq, uint32_t index, uint32_t vector)
{
    static const char *const kinds[] = {"INTx", "MSI", "MSI-X", "error", "request"};
    int result = notify(irq, &irq->vectors[index][vector].on[IRQ_ON_TRIGGER]);

    if (!result && irq->sent)
        irq->sent(irq->sent_ctx, kinds[index],
                  index == VFIO_PCI_MSI_IRQ_INDEX || index == VFIO_PCI_MSIX_IRQ_INDEX ? vector : VFU_NONE);
    return result;
}

void irq_on_send(struct irq *irq, void (*fn)(void *ctx, const char *kind, uint32_t vector), void *ctx)
{
    irq->sent = fn;
    irq->sent_ctx = ctx;
}

static int drop(struct irq *irq)
{
    irq->dropped++;
    return -ENOENT;
}

static bool entry_masked(const struct irq *irq, uint32_t vector)
{
    const uint8_t *control = &irq->table[vector * IRQ_ENTRY_SIZE + IRQ_ENTRY_CONTROL];

    return irq_test_bit(irq->controlled, vector) && *control & IRQ_ENTRY_MASKED;
}

static bool guest_masked(const struct irq *irq, uint32_t index, uint32_t vector)
{
    if (index == VFIO_PCI_MSI_IRQ_INDEX)
        return irq->msi_mask >> vector & 1;
    if (index == VFIO_PCI_MSIX_IRQ_INDEX)
        return irq->function_mask || entry_masked(irq, vector);
    return index == VFIO_PCI_INTX_IRQ_INDEX && irq->intx_disabled;
}

static bool pending(const struct irq *irq, uint32_t index, uint32_t vector)
{
    return index == VFIO_PCI_MSI_IRQ_INDEX ? irq->msi_pending >> vector & 1 : irq_test_bit(irq->pba, vector);
}

static void set_pending(struct irq *irq, uint32_t index, uint32_t vector, bool value)
{
    if (index == VFIO_PCI_MSIX_IRQ_INDEX)
        irq_put_bit(irq->pba, vector, value);
    else if (value)
        irq->msi_pending |= UINT32_C(1) << vector;
    else
        irq->msi_pending &= ~(UINT32_C(1) << vector);
}

static bool line_high(const struct irq *irq)
{
    return irq->count[VFIO_PCI_INTX_IRQ_INDEX] && (irq->level || irq->nraised);
}

/* INTx, which is high: as irq_raise. */
static int intx_send(struct irq *irq)
{
    struct irq_vector *vector = &irq->vectors[VFIO_PCI_INTX_IRQ_INDEX][0];
    int result;

    if (irq->kind != VFIO_PCI_INTX_IRQ_INDEX || vector->on[IRQ_ON_TRIGGER].fd < 0)
        return -ENOENT;
    if (vector->masked || irq->intx_disabled || irq->frozen)
        return VFU_IRQ_PENDING;
    result = trigger(irq, VFIO_PCI_INTX_IRQ_INDEX, 0);
    vector->masked = result == 0;
    return result;
}

static void intx_refresh(struct irq *irq)
{
    if (line_high(irq))
        intx_send(irq);
}

/* Sends what is pending, if nothing keeps it back any more. */
static void deliver(struct irq *irq, uint32_t index, uint32_t vector)
{
    if (index == VFIO_PCI_INTX_IRQ_INDEX) {
        intx_refresh(irq);
        return;
    }
    if (index != irq->kind || !pending(irq, index, vector) || irq->vectors[index][vector].masked ||
        irq->frozen || guest_masked(irq, index, vector))
        return;
    if (trigger(irq, index, vector) == 0)
        set_pending(irq, index, vector, false);
}

void irq_deliver_all(struct irq *irq)
{
    if (irq->kind == VFIO_PCI_MSI_IRQ_INDEX || irq->kind == VFIO_PCI_MSIX_IRQ_INDEX)
        for (uint32_t v = 0; v < irq->count[irq->kind]; v++)
            deliver(irq, irq->kind, v);
    else
        intx_refresh(irq);
}

static void choose_kind(struct irq *irq)
{
    static const uint32_t order[] = {VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_INTX_IRQ_INDEX};
    uint32_t kind = IRQ_NO_KIND;

    for (uint32_t i = 0; i < 3 && kind == IRQ_NO_KIND; i++)
        if (irq->armed[order[i]])
            kind = order[i];
    if (kind == irq->kind)
        return;
    irq->kind = kind;
    irq_deliver_all(irq);
}

/* The guest's own mask of this vector has changed. */
static void guest_changed(struct irq *irq, uint32_t index, uint32_t vector, bool masked)
{
    notify(irq, &irq->vectors[index][vector].on[masked ? IRQ_ON_MASK : IRQ_ON_UNMASK]);
    if (!masked)
        deliver(irq, index, vector);
}

/* ---- SET_IRQS ------------------------------------------------------------------------------------------------ */

static int refuse(struct irq *irq, const char *field, uint64_t value, const char *why)
{
    log_limited(&irq->limit, irq->who, LOG_WARN, "SET_IRQS: %s %llu: %s", field, (unsigned long long)value, why);
    return -EINVAL;
}

static bool one_bit(uint32_t value)
{
    return value && !(value & (value - 1));
}

static int check_set(struct irq *irq, const struct vfio_irq_set *set, uint32_t ndata, uint32_t nfds)
{
    const uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK, data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;

    if (set->argsz < sizeof *set)
        return refuse(irq, "argsz", set->argsz, "shorter than the message");
    if (set->index >= IRQ_INDEXES)
        return refuse(irq, "index", set->index, "no such interrupt index");
    if (!one_bit(action) || !one_bit(data) || set->flags != (action | data))
        return refuse(irq, "flags", set->flags, "not one data and one action flag");
    if (set->index >= VFIO_PCI_ERR_IRQ_INDEX && action != VFIO_IRQ_SET_ACTION_TRIGGER)
        return refuse(irq, "flags", set->flags, "this index cannot be masked");
    if (set->count == 0) {
        if (set->flags != (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER) || set->start != 0)
            return refuse(irq, "count", 0, "only DATA_NONE and ACTION_TRIGGER with start 0 may have it");
        return 0;
    }
    if (set->start >= irq->count[set->index])
        return refuse(irq, "start", set->start, "beyond the vectors of the index");
    if (set->count > irq->count[set->index] - set->start)
        return refuse(irq, "count", set->count, "beyond the vectors of the index");
    if (data == VFIO_IRQ_SET_DATA_BOOL && ndata < set->count)
        return refuse(irq, "count", set->count, "more than there are bytes of data");
    if (data == VFIO_IRQ_SET_DATA_EVENTFD && nfds > set->count)
        return refuse(irq, "count", set->count, "less than there are file descriptors");
    return 0;
}

/*
 * Whether fd is an eventfd that can be written. Anonymous inodes have no file type, which tells pipes, sockets,
 * devices and files apart without help of /proc; their name does the rest. Where /proc is not mounted the other
 * anonymous inodes (timers, epoll and the like) pass: a write of eight bytes sleeps in none of them.
 */
static bool is_eventfd(int fd)
{
    static const char name[] = "anon_inode:[eventfd]";
    char link[40], text[sizeof name];
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    ssize_t length;

    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(fd, &status) < 0 || (status.st_mode & S_IFMT))
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, text, sizeof text);
    return length < 0 || (length == (ssize_t)sizeof name - 1 && !memcmp(text, name, sizeof name - 1));
}

static int set_eventfds(struct irq *irq, const struct vfio_irq_set *set, int action, int *fds, uint32_t nfds)
{
    /* All or nothing: a message that is refused has changed nothing. */
    for (uint32_t i = 0; i < nfds; i++)
        if (fds[i] >= 0 && !is_eventfd(fds[i]))
            return refuse(irq, "file descriptor", i, "not an eventfd");
    for (uint32_t i = 0; i < set->count; i++) {
        struct irq_notifier *on = &irq->vectors[set->index][set->start + i].on[action];

        notifier_close(on);
        if (i >= nfds || fds[i] < 0)
            continue;
        on->fd = fds[i];
        on->blocks = !(fcntl(on->fd, F_GETFL) & O_NONBLOCK);
        fds[i] = -1;
    }
    if (action != IRQ_ON_TRIGGER)
        return 0;
    /* Also without any fd: it is how the stock client enables MSI-X. */
    irq->armed[set->index] = true;
    choose_kind(irq);
    for (uint32_t i = 0; set->index <= VFIO_PCI_MSIX_IRQ_INDEX && i < set->count; i++)
        deliver(irq, set->index, set->start + i);
    return 0;
}

static void act(struct irq *irq, uint32_t index, uint32_t vector, int action)
{
    struct irq_vector *v = &irq->vectors[index][vector];

    if (action == IRQ_ON_TRIGGER) { /* the client's loopback test: no state of the device is in it */
        notify(irq, &v->on[IRQ_ON_TRIGGER]);
        return;
    }
    v->masked = action == IRQ_ON_MASK;
    if (!v->masked)
        deliver(irq, index, vector);
}

static void disable(struct irq *irq, uint32_t index)
{
    forget(irq, index);
    if (index == VFIO_PCI_MSI_IRQ_INDEX)
        irq->msi_pending = 0;
    else if (index == VFIO_PCI_MSIX_IRQ_INDEX)
        memset(irq->pba, 0, irq_pba_size(irq));
    choose_kind(irq);
}

int irq_set(struct irq *irq, const struct vfio_irq_set *set, const uint8_t *data, uint32_t ndata, int *fds,
            uint32_t nfds)
{
    int result = check_set(irq, set, ndata, nfds), action = IRQ_ON_TRIGGER;

    if (result < 0)
        return result;
    if (set->count == 0) {
        disable(irq, set->index);
        return 0;
    }
    if (set->flags & VFIO_IRQ_SET_ACTION_MASK)
        action = IRQ_ON_MASK;
    else if (set->flags & VFIO_IRQ_SET_ACTION_UNMASK)
        action = IRQ_ON_UNMASK;
    if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return set_eventfds(irq, set, action, fds, nfds);
    for (uint32_t i = 0; i < set->count; i++)
        if (set->flags & VFIO_IRQ_SET_DATA_NONE || data[i])
            act(irq, set->index, set->start + i, action);
    return 0;
}

/* ---- the device's side --------------------------------------------------------------------------------------- */

static int send_message(struct irq *irq, uint32_t index, uint32_t vector)
{
    struct irq_vector *v;

    if (vector >= irq->count[index])
        return drop(irq);
    v = &irq->vectors[index][vector];
    if (v->on[IRQ_ON_TRIGGER].fd < 0)
        return drop(irq);
    if (v->masked || irq->frozen || guest_masked(irq, index, vector)) {
        set_pending(irq, index, vector, true);
        return VFU_IRQ_PENDING;
    }
    return trigger(irq, index, vector) < 0 ? drop(irq) : 0;
}

int irq_raise(struct irq *irq, uint32_t vector)
{
    const uint64_t bit = UINT64_C(1) << (vector % 64);
    int result;

    if (vector >= irq->max_vectors)
        return -EINVAL;
    if (irq->kind == VFIO_PCI_MSI_IRQ_INDEX || irq->kind == VFIO_PCI_MSIX_IRQ_INDEX)
        return send_message(irq, irq->kind, vector);
    if (!irq->count[VFIO_PCI_INTX_IRQ_INDEX])
        return drop(irq);
    /* The line is high even if nobody has armed it yet: whoever does finds it so. */
    if (!(irq->raised[vector / 64] & bit))
        irq->nraised++;
    irq->raised[vector / 64] |= bit;
    result = intx_send(irq);
    return result < 0 ? drop(irq) : result;
}

int irq_lower(struct irq *irq, uint32_t vector)
{
    const uint64_t bit = UINT64_C(1) << (vector % 64);

    if (vector >= irq->max_vectors)
        return -EINVAL;
    if (irq->raised[vector / 64] & bit)
        irq->nraised--;
    irq->raised[vector / 64] &= ~bit;
    return 0;
}

int irq_signal(struct irq *irq, uint32_t which)
{
    if (which != VFU_IRQ_ERR && which != VFU_IRQ_REQ)
        return -EINVAL;
    return trigger(irq, which, 0) < 0 ? drop(irq) : 0;
}

void irq_level(struct irq *irq, uint64_t bits)
{
    const uint64_t risen = bits & ~irq->level;

    irq->level = bits;
    if (!risen)
        return;
    if (irq->kind == VFIO_PCI_MSI_IRQ_INDEX || irq->kind == VFIO_PCI_MSIX_IRQ_INDEX)
        send_message(irq, irq->kind, 0);
    else if (line_high(irq))
        intx_send(irq);
    else
        drop(irq);
}

bool irq_asserted(const struct irq *irq)
{
    return line_high(irq) && irq->kind != VFIO_PCI_MSI_IRQ_INDEX && irq->kind != VFIO_PCI_MSIX_IRQ_INDEX;
}

/* ---- the guest's side ---------------------------------------------------------------------------------------- */

void irq_config_intx(struct irq *irq, bool disabled)
{
    if (irq->intx_disabled == disabled)
        return;
    irq->intx_disabled = disabled;
    if (irq->count[VFIO_PCI_INTX_IRQ_INDEX])
        guest_changed(irq, VFIO_PCI_INTX_IRQ_INDEX, 0, disabled);
}

void irq_config_msi(struct irq *irq, uint32_t mask_bits)
{
    const uint32_t changed = mask_bits ^ irq->msi_mask;

    irq->msi_mask = mask_bits;
    for (uint32_t v = 0; v < irq->count[VFIO_PCI_MSI_IRQ_INDEX]; v++)
        if (changed >> v & 1)
            guest_changed(irq, VFIO_PCI_MSI_IRQ_INDEX, v, mask_bits >> v & 1);
}

void irq_config_msix(struct irq *irq, bool function_mask)
{
    if (irq->function_mask == function_mask)
        return;
    irq->function_mask = function_mask;
    for (uint32_t v = 0; v < irq->count[VFIO_PCI_MSIX_IRQ_INDEX]; v++)
        if (!entry_masked(irq, v)) /* the others are masked before and after */
            guest_changed(irq, VFIO_PCI_MSIX_IRQ_INDEX, v, function_mask);
}

uint32_t irq_msi_pending(const struct irq *irq)
{
    return irq->msi_pending;
}

uint32_t irq_table_size(const struct irq *irq)
{
    return irq->count[VFIO_PCI_MSIX_IRQ_INDEX] * IRQ_ENTRY_SIZE;
}

uint32_t irq_pba_size(const struct irq *irq)
{
    return (irq->count[VFIO_PCI_MSIX_IRQ_INDEX] + 63) / 64 * 8;
}

/* Outside of memory that is `limit` bytes long all bytes are zero. */
static void read_bytes(const uint8_t *memory, uint32_t limit, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    uint32_t inside = offset >= limit ? 0 : limit - offset < size ? limit - offset : size;

    if (inside)
        memcpy(bytes, memory + offset, inside);
    memset(bytes + inside, 0, size - inside);
}

void irq_table_read(const struct irq *irq, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    read_bytes(irq->table, irq_table_size(irq), offset, size, bytes);
}

void irq_pba_read(const struct irq *irq, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    read_bytes(irq->pba, irq_pba_size(irq), offset, size, bytes);
}

/* Bytes of one entry. Of the vector control only the mask bit is there. */
static void entry_write(struct irq *irq, uint32_t vector, uint32_t start, uint32_t size, const uint8_t *bytes)
{
    const bool before = guest_masked(irq, VFIO_PCI_MSIX_IRQ_INDEX, vector);
    uint8_t *entry = irq->table + vector * IRQ_ENTRY_SIZE;
    bool after;

    for (uint32_t i = start; i < start + size; i++) {
        if (i < IRQ_ENTRY_CONTROL) {
            entry[i] = bytes[i - start];
        } else if (i == IRQ_ENTRY_CONTROL) {
            entry[i] = bytes[i - start] & IRQ_ENTRY_MASKED;
            irq_put_bit(irq->controlled, vector, true);
        }
    }
    after = guest_masked(irq, VFIO_PCI_MSIX_IRQ_INDEX, vector);
    if (before != after)
        guest_changed(irq, VFIO_PCI_MSIX_IRQ_INDEX, vector, after);
}

void irq_table_write(struct irq *irq, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
    const uint32_t limit = irq_table_size(irq);

    while (size && offset < limit) {
        uint32_t start = offset % IRQ_ENTRY_SIZE, piece = IRQ_ENTRY_SIZE - start < size ? IRQ_ENTRY_SIZE - start : size;

        entry_write(irq, offset / IRQ_ENTRY_SIZE, start, piece, bytes);
        offset += piece;
        size -= piece;
        bytes += piece;
    }
}

/* ---- reset, the client's end --------------------------------------------------------------------------------- */

void irq_reset(struct irq *irq)
{
    irq->level = 0;
    memset(irq->raised, 0, sizeof irq->raised);
    irq->nraised = 0;
    irq->msi_pending = 0;
    memset(irq->pba, 0, irq_pba_size(irq));
    table_reset(irq);
}

void irq_detach(struct irq *irq)
{
    for (uint32_t index = 0; index < IRQ_INDEXES; index++)
        forget(irq, index);
    irq->kind = IRQ_NO_KIND;
}

void irq_freeze(struct irq *irq, bool frozen)
{
    irq->frozen = frozen;
    if (!frozen)
        irq_deliver_all(irq);
}

uint64_t irq_dropped(const struct irq *irq)
{
    return irq->dropped;
}
