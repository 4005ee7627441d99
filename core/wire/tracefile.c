/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tracefile - messages as packets of a pcapng file: see tracefile.h.
 *
 * The buffer is a ring of whole blocks. `head` is where the next block goes, `tail` where the file ends, `whole` where
 * its last whole block ends: what is behind `whole` stays in the ring until the file has all of the block, so that a
 * file that could not take the last one can be cut to one that every reader accepts. Positions only grow; they are
 * changed under the lock, and read without it by a signal handler.
 *
 * A model that takes the process down does not take the last messages with it: a handler of the signals that end a
 * process waits for the writer, which goes on running beside it, before the signal does what it would have done.
 */
#include "core/wire/tracefile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"

#include <vfu/plugin.h>

#define ROOM (UINT64_C(8) << 20)     /* of the ring; only what is used is ever touched */
#define STALL_NS 20000000            /* that a message waits for room */
#define GIVE_UP_MS 1000              /* a reader that takes nothing at the end */
#define LAST_WORDS_MS 200            /* for the writer, in a process that ends */
#define LINKTYPE_USER0 147u
#define PADDED(n) (((n) + 3u) & ~3u)

/* pcapng: types of blocks and of their options */
enum { BLOCK_SECTION = 0x0a0d0d0a, BLOCK_INTERFACE = 1, BLOCK_STATISTICS = 5, BLOCK_PACKET = 6 };
enum { OPT_END = 0, OPT_COMMENT = 1 };
enum { SHB_USERAPPL = 4, IF_NAME = 2, IF_DESCRIPTION = 3, IF_TSRESOL = 9, EPB_FLAGS = 2, EPB_DROPCOUNT = 4,
       ISB_IFRECV = 4, ISB_IFDROP = 5 };

struct count {
    uint64_t seen, dropped, untold; /* untold: of dropped, those no packet has told of yet */
};

struct tracefile {
    pthread_mutex_t lock;
    pthread_cond_t more, room;
    pthread_t thread;
    int fd;
    char *path;
    uint32_t snap;
    uint8_t *ring;
    _Atomic uint64_t head, whole;
    uint64_t tail;
    _Atomic bool failed; /* the file takes nothing any more: logged */
    bool closing, ending, idle, stalled, warned;
    struct count *counts; /* of each interface */
    uint32_t ninterfaces;
};

/* ---- blocks: built on the stack or in the ring, all under the lock --------------------------------------------- */

/* Behind the head, where room has been found. */
static void put(struct tracefile *file, uint64_t *at, const void *bytes, size_t n)
{
    size_t start = (size_t)(*at % ROOM), first = n < ROOM - start ? n : ROOM - start;

    memcpy(file->ring + start, bytes, first);
    memcpy(file->ring, (const uint8_t *)bytes + first, n - first);
    *at += n;
}

static void put_padded(struct tracefile *file, uint64_t *at, const void *bytes, uint32_t n)
{
    static const uint8_t zeros[4];

    put(file, at, bytes, n);
    put(file, at, zeros, PADDED(n) - n);
}

struct option {
    uint16_t code, size;
    const void *bytes;
};

static uint32_t options_size(const struct option *options, uint32_t n)
{
    uint32_t size = n ? 4 : 0;

    for (uint32_t i = 0; i < n; i++)
        size += 4 + PADDED((uint32_t)options[i].size);
    return size;
}

static void put_options(struct tracefile *file, uint64_t *at, const struct option *options, uint32_t n)
{
    static const struct option end = { OPT_END, 0, NULL };

    for (uint32_t i = 0; i < n; i++) {
        put(file, at, &options[i], 4);
        put_padded(file, at, options[i].bytes, options[i].size);
    }
    if (n)
        put(file, at, &end, 4);
}

static struct option text_option(uint16_t code, const char *text)
{
    size_t n = strlen(text);

    return (struct option){ code, (uint16_t)(n < 4096 ? n : 4096), text };
}

/* Under the lock. Waits for the writer: a little, and not again until it has moved; `forever`: at the start and end. */
static bool find_room(struct tracefile *file, uint32_t size, bool forever)
{
    struct timespec until;

    if (ROOM - (file->head - file->whole) >= size)
        return !file->failed;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += STALL_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!file->failed && ROOM - (file->head - file->whole) < size) {
        if (forever)
            pthread_cond_wait(&file->room, &file->lock);
        else if (file->stalled || pthread_cond_timedwait(&file->room, &file->lock, &until) == ETIMEDOUT)
            break;
    }
    file->stalled = ROOM - (file->head - file->whole) < size;
    return !file->stalled && !file->failed;
}

/* Under the lock: a block of a fixed part, data and options. False: there is no room for it. */
static bool put_block(struct tracefile *file, uint32_t type, const void *fixed, uint32_t nfixed, const void *data,
                      uint32_t ndata, const struct option *options, uint32_t noptions, bool forever)
{
    uint32_t size = 12 + nfixed + PADDED(ndata) + options_size(options, noptions), start[2] = { type, size };
    uint64_t at;

    if (!find_room(file, size, forever))
        return false;
    at = file->head;
    put(file, &at, start, sizeof start);
    put(file, &at, fixed, nfixed);
    put_padded(file, &at, data, ndata);
    put_options(file, &at, options, noptions);
    put(file, &at, &size, sizeof size);
    file->head = at;
    if (file->idle)
        pthread_cond_signal(&file->more);
    return true;
}

static void put_section(struct tracefile *file)
{
    const struct {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t length[2]; /* not known */
    } fixed = { 0x1a2b3c4d, 1, 0, { UINT32_MAX, UINT32_MAX } };
    const struct option option = text_option(SHB_USERAPPL, "vfu-host " VFU_SDK_VERSION);

    pthread_mutex_lock(&file->lock);
    (void)put_block(file, BLOCK_SECTION, &fixed, sizeof fixed, "", 0, &option, 1, true);
    pthread_mutex_unlock(&file->lock);
}

int tracefile_device(struct tracefile *file, const char *name, const char *socket, struct tracefile_tap *tap)
{
    const struct {
        uint16_t linktype, reserved;
        uint32_t snap;
    } fixed = { LINKTYPE_USER0, 0, file->snap };
    const uint8_t nanoseconds = 9;
    const struct option options[] = {
        text_option(IF_NAME, name),
        text_option(IF_DESCRIPTION, socket),
        { IF_TSRESOL, 1, &nanoseconds },
    };
    struct count *counts;

    pthread_mutex_lock(&file->lock);
    counts = realloc(file->counts, (file->ninterfaces + 1) * sizeof *counts);
    if (counts) {
        file->counts = counts;
        counts[file->ninterfaces] = (struct count){ 0 };
        *tap = (struct tracefile_tap){ file, file->ninterfaces++ };
        (void)put_block(file, BLOCK_INTERFACE, &fixed, sizeof fixed, "", 0, options, 3, true);
    }
    pthread_mutex_unlock(&file->lock);
    return counts ? 0 : -ENOMEM;
}

/* Two halves, as all of pcapng's timestamps. */
static void now(uint32_t half[2])
{
    struct timespec time;
    uint64_t ns;

    clock_gettime(CLOCK_REALTIME, &time);
    ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    half[0] = (uint32_t)(ns >> 32);
    half[1] = (uint32_t)ns;
}

static void comment(char text[96], const struct tracefile_message *message)
{
    *text = 0;
    if (message->nfds)
        snprintf(text, 96, "fds: %u%s%s", message->nfds, message->note ? "; " : "", message->note ? message->note : "");
    else if (message->note)
        snprintf(text, 96, "%s", message->note);
}

static void drop(struct tracefile *file, struct count *count)
{
    count->dropped++;
    count->untold++;
    if (file->warned || file->failed)
        return;
    file->warned = true;
    log_warn(NULL, "--trace %s: it cannot be written as fast as messages come; those it has no room for are left out, "
             "and counted in the file", file->path);
}

void tracefile_put(const struct tracefile_tap *tap, const struct tracefile_message *message)
{
    struct tracefile *file = tap->file;
    uint32_t have = message->have < file->snap ? message->have : file->snap, n = 0;
    struct {
        uint32_t interface, time[2], have, size;
    } fixed = { tap->interface, { 0, 0 }, have, message->size };
    uint32_t flags = message->direction;
    struct option options[3];
    struct count *count;
    uint64_t dropped;
    char text[96];

    if (atomic_load_explicit(&file->failed, memory_order_relaxed))
        return;
    comment(text, message);
    options[n++] = (struct option){ EPB_FLAGS, sizeof flags, &flags };
    if (*text)
        options[n++] = text_option(OPT_COMMENT, text);
    pthread_mutex_lock(&file->lock);
    count = &file->counts[tap->interface];
    count->seen++;
    dropped = count->untold;
    if (dropped)
        options[n++] = (struct option){ EPB_DROPCOUNT, sizeof dropped, &dropped };
    now(fixed.time);
    if (put_block(file, BLOCK_PACKET, &fixed, sizeof fixed, message->bytes, have, options, n, false))
        file->counts[tap->interface].untold -= dropped; /* the lock was open while room was waited for */
    else
        drop(file, &file->counts[tap->interface]);
    pthread_mutex_unlock(&file->lock);
}

/* What came in all, and what of it is not there. */
static void put_statistics(struct tracefile *file)
{
    for (uint32_t i = 0; i < file->ninterfaces; i++) {
        const struct option options[] = {
            { ISB_IFRECV, 8, &file->counts[i].seen },
            { ISB_IFDROP, 8, &file->counts[i].dropped },
        };
        struct {
            uint32_t interface, time[2];
        } fixed = { .interface = i };

        now(fixed.time);
        (void)put_block(file, BLOCK_STATISTICS, &fixed, sizeof fixed, "", 0, options, 2, true);
    }
}

/* ---- the writer ------------------------------------------------------------------------------------------------ */

/* The end of the last block that lies before `end`, under the lock. */
static uint64_t whole_blocks(const struct tracefile *file, uint64_t end)
{
    uint64_t at = file->whole;

    while (end - at >= 8) {
        uint32_t size;

        memcpy(&size, file->ring + (at + 4) % ROOM, sizeof size);
        if (end - at < size)
            break;
        at += size;
    }
    return at;
}

/* The file has got no further. What is whole of it stays. */
static void give_up(struct tracefile *file, int error)
{
    struct stat st;

    file->failed = true;
    if (fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode))
        (void)!ftruncate(file->fd, (off_t)file->whole);
    log_error(NULL, "--trace %s: %s; the trace ends here, the devices go on", file->path,
              error == EPIPE       ? "its reader has gone"
              : error == ETIMEDOUT ? "its reader takes nothing"
                                   : strerror(error));
}

/* A FIFO that is full: waits for its reader, at the end not for ever. 0 or an errno. */
static int wait_for_reader(struct tracefile *file, int *waited)
{
    struct pollfd one = { .fd = file->fd, .events = POLLOUT };
    bool closing;

    if (poll(&one, 1, 50) == 0)
        *waited += 50;
    pthread_mutex_lock(&file->lock);
    closing = file->closing;
    pthread_mutex_unlock(&file->lock);
    return closing && *waited >= GIVE_UP_MS ? ETIMEDOUT : 0;
}

/* Without the lock: what is there is not touched. 0 or an errno; *n is what was written. */
static int write_some(struct tracefile *file, const uint8_t *bytes, size_t size, size_t *n)
{
    int waited = 0, error = 0;

    while (!error) {
        ssize_t got = write(file->fd, bytes, size);

        if (got >= 0) {
            *n = (size_t)got;
            return got ? 0 : EIO;
        }
        error = errno == EINTR ? 0 : errno == EAGAIN ? wait_for_reader(file, &waited) : errno;
    }
    *n = 0;
    return error;
}

static void *writer(void *arg)
{
    struct tracefile *file = arg;

    pthread_mutex_lock(&file->lock);
    while (!file->failed) {
        size_t start = (size_t)(file->tail % ROOM), size = (size_t)(file->head - file->tail), n;
        int error;

        if (!size && file->ending)
            break;
        if (!size) {
            file->idle = true;
            pthread_cond_wait(&file->more, &file->lock);
            file->idle = false;
            continue;
        }
        if (size > ROOM - start)
            size = ROOM - start;
        pthread_mutex_unlock(&file->lock);
        error = write_some(file, file->ring + start, size, &n);
        pthread_mutex_lock(&file->lock);
        file->tail += n;
        file->whole = whole_blocks(file, file->tail);
        file->stalled = false;
        if (error)
            give_up(file, error);
        pthread_cond_broadcast(&file->room);
    }
    pthread_mutex_unlock(&file->lock);
    return NULL;
}

/* ---- the end of a process that does not come to tracefile_close ------------------------------------------------ */

static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
#define NDEADLY (sizeof deadly / sizeof deadly[0])

static struct {
    _Atomic(struct tracefile *) file;
    struct sigaction former[NDEADLY];
} last_words;

/* Takes no lock and allocates nothing: for a signal handler, too. */
static void wait_for_writer(const struct tracefile *file, int ms)
{
    const struct timespec tick = { 0, 1000000 };
    uint64_t end = file->head;

    for (int i = 0; i < ms && !file->failed && file->whole < end; i++)
        nanosleep(&tick, NULL);
}

static void on_deadly(int number, siginfo_t *info, void *context)
{
    struct tracefile *file = atomic_load(&last_words.file);
    int saved = errno;

    (void)context;
    if (file && !pthread_equal(pthread_self(), file->thread))
        wait_for_writer(file, LAST_WORDS_MS);
    for (size_t i = 0; i < NDEADLY; i++) {
        if (deadly[i] == number)
            sigaction(number, &last_words.former[i], NULL);
    }
    if (info->si_code <= 0)
        raise(number); /* it would not come again by itself */
    errno = saved;
}

/* A plugin has called exit. */
static void on_exit_call(void)
{
    struct tracefile *file = atomic_load(&last_words.file);

    if (file)
        wait_for_writer(file, LAST_WORDS_MS);
}

static void catch_deadly(struct tracefile *file)
{
    struct sigaction action = { .sa_sigaction = on_deadly, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigemptyset(&action.sa_mask);
    atomic_store(&last_words.file, file);
    for (size_t i = 0; i < NDEADLY; i++)
        sigaction(deadly[i], &action, &last_words.former[i]);
    atexit(on_exit_call);
}

static void release_deadly(void)
{
    for (size_t i = 0; i < NDEADLY; i++)
        sigaction(deadly[i], &last_words.former[i], NULL);
    atomic_store(&last_words.file, NULL);
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

/* A name given by mistake, of a script say: only another trace is overwritten, and what is empty. */
static bool precious(const char *path)
{
    uint32_t magic = 0;
    struct stat st;
    bool other;
    int fd;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    other = fd < 0 || read(fd, &magic, sizeof magic) != sizeof magic || magic != BLOCK_SECTION;
    if (fd >= 0)
        close(fd);
    return other;
}

static int open_file(const char *path)
{
    struct stat st;
    int fd;

    if (precious(path))
        return -EEXIST;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) ? ftruncate(fd, 0) : fcntl(fd, F_SETFL, O_NONBLOCK)) < 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

/* Signals are for main's thread. */
static int start_writer(struct tracefile *file)
{
    pthread_attr_t attributes;
    sigset_t all, former;
    int error;

    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    error = pthread_create(&file->thread, &attributes, writer, file);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attributes);
    if (!error)
        pthread_setname_np(file->thread, "trace");
    return -error;
}

static void free_file(struct tracefile *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->ring)
        munmap(file->ring, ROOM);
    free(file->counts);
    free(file->path);
    free(file);
}

static int make(struct tracefile *file, const char *path)
{
    void *ring = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    file->path = strdup(path);
    file->ring = ring == MAP_FAILED ? NULL : ring;
    if (!file->path || !file->ring)
        return -ENOMEM;
    file->fd = open_file(path);
    return file->fd < 0 ? file->fd : start_writer(file);
}

int tracefile_open(struct tracefile **out, const char *path, uint32_t snap)
{
    struct tracefile *file = calloc(1, sizeof *file);
    int error;

    if (!file)
        return -ENOMEM;
    file->fd = -1;
    file->snap = snap;
    pthread_mutex_init(&file->lock, NULL);
    pthread_cond_init(&file->more, NULL);
    pthread_cond_init(&file->room, NULL);
    error = make(file, path);
    if (error) {
        log_error(NULL, "--trace %s: %s", path,
                  error == -EEXIST ? "it is there and no pcapng file, and is left as it is" : strerror(-error));
        free_file(file);
        return error;
    }
    put_section(file);
    catch_deadly(file);
    *out = file;
    return 0;
}

void tracefile_flush(struct tracefile *file)
{
    if (file)
        wait_for_writer(file, 1000);
}

void tracefile_close(struct tracefile *file)
{
    if (!file)
        return;
    release_deadly();
    pthread_mutex_lock(&file->lock);
    file->closing = true; /* a reader that takes nothing is given up, so that there is room, or an end */
    put_statistics(file);
    file->ending = true;
    pthread_cond_signal(&file->more);
    pthread_mutex_unlock(&file->lock);
    pthread_join(file->thread, NULL);
    free_file(file);
}
