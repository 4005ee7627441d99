/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session - a libFuzzer harness: an input is a script (see script.h) of what a client does to a session of a device.
 * Loop, session, device and client take turns on one thread, with a clock that only the script moves.
 *
 * Beside what the sanitizers see it is an error if the server's stream is not well-formed, a command is not answered
 * once and in order, a descriptor is left open, or work never ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/session/session.h"
#include "tests/fuzz/client.h"
#include "tests/fuzz/host.h"

#define RECORDS_MAX 256u
#define SETTLE_MAX 4000u
#define READ_ALL SIZE_MAX

struct play {
    struct device *dev;
    struct session *session; /* NULL: gone */
    struct client client;
    uint8_t settings;
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the connection */

static void gone(void *ctx)
{
    struct play *p = ctx;

    p->session = NULL;
}

static void rounds(struct play *p, uint32_t n)
{
    while (n-- > 0)
        loop_step(&p->dev->loop);
}

/* What a client of a script does by itself between its steps. */
static void turn(struct play *p)
{
    static const struct script_answer right = { ANSWER_RIGHT, 0 };

    if (p->settings & SCRIPT_NO_ROUNDS)
        return;
    rounds(p, 1);
    if (p->settings & SCRIPT_NO_READ)
        return;
    client_read(&p->client, READ_ALL);
    while (!(p->settings & SCRIPT_NO_ANSWER) && p->client.ndma) {
        client_answer(&p->client, &right);
        rounds(p, 1);
    }
}

static void hello(struct play *p)
{
    static const char plain[] = "{\"capabilities\":{\"max_msg_fds\":16,\"write_multiple\":true}}";
    static const char twin[] = "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":4096,"
                               "\"twin_socket\":{\"supported\":true}}}";
    const char *text = p->settings & SCRIPT_TWIN ? twin : plain;
    struct vfu_msg_header header = { .id = p->client.next_id++, .command = VFU_CMD_VERSION };
    uint8_t bytes[sizeof header + sizeof(struct vfu_msg_version) + sizeof twin + sizeof plain] = { 0 };
    size_t n = strlen(text) + 1;

    header.size = (uint32_t)(sizeof header + sizeof(struct vfu_msg_version) + n);
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + header.size - n, text, n);
    client_send(&p->client, bytes, header.size, FD_NONE, 0);
    rounds(p, 1);
    client_read(&p->client, READ_ALL);
}

static void connect_client(struct play *p)
{
    int pair[2], room = 4096;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        client_fail("no socket pair", (uint64_t)errno, 0);
    if (p->settings & SCRIPT_NARROW)
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    client_connect(&p->client, pair[1]);
    if (session_open(&p->session, p->dev, pair[0], gone, p) < 0)
        client_fail("no session", 0, 0);
    if (p->settings & SCRIPT_HELLO)
        hello(p);
}

/* As server.c: the former client may have gone, its end of stream unread. */
static void end_session(struct play *p)
{
    if (p->session && !session_drain(p->session))
        session_close(p->session);
    if (p->session)
        client_fail("the session does not end", 0, 0);
}

/* The server does all that it still can; every reply must be there then. */
static void settle(struct play *p)
{
    /* A narrow socket takes a large reply in very many pieces: only rounds that bring nothing count. */
    for (uint32_t i = 0; i < SETTLE_MAX; i++) {
        rounds(p, 1);
        if (client_read(&p->client, READ_ALL))
            i = 0;
        if (!p->session || (!p->session->again && !p->session->blocked && !transport_pending(&p->session->main)))
            break;
        if (i == SETTLE_MAX - 1)
            client_fail("the session does not settle", p->session->again, p->session->blocked);
    }
    rounds(p, 2);
    client_read(&p->client, READ_ALL);
    if (p->session)
        client_check_all(&p->client);
}

static void reconnect(struct play *p, uint8_t how)
{
    how %= RECONNECT_KINDS;
    if (how == RECONNECT_READ_FIRST)
        settle(p);
    if (how == RECONNECT_SHUTDOWN && p->client.main.fd >= 0) {
        shutdown(p->client.main.fd, SHUT_WR);
        rounds(p, 2);
        client_read(&p->client, READ_ALL);
    }
    client_disconnect(&p->client);
    if (how != RECONNECT_AT_ONCE)
        rounds(p, 2);
    end_session(p);
    connect_client(p);
}

/* ---- the steps */

/* All of it, if the server takes it in a few turns. */
static void send_bytes(struct play *p, const uint8_t *bytes, size_t size, uint8_t fd, uint32_t nfds)
{
    for (uint32_t tries = 0; size && tries < 64 && p->session; tries++) {
        size_t n = client_send(&p->client, bytes, size, fd, nfds);

        bytes += n;
        size -= n;
        if (n)
            fd = FD_NONE;
        if (size)
            rounds(p, 1);
    }
}

static void send_message(struct play *p, const uint8_t *body, size_t n)
{
    static uint8_t bytes[sizeof(struct vfu_msg_header) + UINT16_MAX];
    struct script_message m = { 0 };
    struct vfu_msg_header header = { .id = p->client.next_id++ };
    size_t size = sizeof header, cut;

    memcpy(&m, body, n < sizeof m ? n : sizeof m);
    if (n > sizeof m) {
        memcpy(bytes + sizeof header, body + sizeof m, n - sizeof m);
        size += n - sizeof m;
    }
    header.command = m.command;
    header.flags = m.flags;
    header.size = (uint32_t)((int64_t)size + m.excess);
    memcpy(bytes, &header, sizeof header);
    cut = m.cut < size ? m.cut : 0;
    if (cut) {
        send_bytes(p, bytes, cut, FD_NONE, 0);
        turn(p);
    }
    send_bytes(p, bytes + cut, size - cut, m.fd, m.nfds);
}

static void send_large(struct play *p, const struct script_large *large)
{
    static uint8_t bytes[sizeof(struct vfu_msg_header) + sizeof(struct vfu_msg_region_access) + TRANSPORT_MAX_DATA];
    uint32_t count = large->count % (TRANSPORT_MAX_DATA + 1);
    struct vfu_msg_region_access access = { .offset = large->offset, .region = large->region, .count = count };
    struct vfu_msg_header header = { .id = p->client.next_id++ };
    size_t size = sizeof header + sizeof access, cut = (size_t)large->cut * 1024;

    header.command = large->write & 1 ? VFU_CMD_REGION_WRITE : VFU_CMD_REGION_READ;
    header.flags = large->write & 2 ? VFU_MSG_NO_REPLY : 0;
    if (large->write & 1)
        size += count;
    header.size = (uint32_t)size;
    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + sizeof header, &access, sizeof access);
    memset(bytes + sizeof header + sizeof access, header.id, sizeof bytes - sizeof header - sizeof access);
    if (cut >= size)
        cut = 0;
    send_bytes(p, bytes, cut, FD_NONE, 0);
    if (cut)
        turn(p);
    send_bytes(p, bytes + cut, size - cut, large->write & 4 ? FD_EVENT : FD_NONE, 1);
}

/* A stopped device's state, as it would come from another of its kind. */
static void send_image(struct play *p, const struct script_image *how, const uint8_t *data, size_t n)
{
    struct vfu_msg_header header = { .command = VFU_CMD_MIG_DATA_WRITE };
    struct vfu_msg_mig_data fixed = { 0 };
    struct image image = { 0 }, message = { 0 };
    size_t at;

    if (!p->dev->stopped || image_save(p->dev, &image))
        return;
    at = how->offset % image.size;
    if (n > image.size - at)
        n = image.size - at;
    memcpy(image.data + at, data, n);
    if (how->flags & IMAGE_CUT)
        image.size = at + n;
    if (!(how->flags & IMAGE_DAMAGED))
        host_put_right(image.data, image.size);
    for (uint64_t done = 0, piece; done < image.size; done += piece) {
        piece = image.size - done < TRANSPORT_MAX_DATA ? image.size - done : TRANSPORT_MAX_DATA;
        fixed.size = (uint32_t)piece;
        fixed.argsz = (uint32_t)(sizeof fixed + piece);
        header.id = p->client.next_id++;
        header.size = (uint32_t)sizeof header + fixed.argsz;
        message.size = 0;
        if (image_append(&message, &header, sizeof header) || image_append(&message, &fixed, sizeof fixed) ||
            image_append(&message, image.data + done, piece))
            client_fail("out of memory", 0, 0);
        send_bytes(p, message.data, message.size, FD_NONE, 0);
    }
    image_free(&message);
    image_free(&image);
}

static void step(struct play *p, uint8_t op, const uint8_t *body, size_t n)
{
    union {
        uint8_t byte;
        uint32_t number;
        struct script_answer answer;
        struct script_file file;
        struct script_poke poke;
        struct script_large large;
        struct script_image image;
    } u;
    const size_t head = 4 < n ? 4 : n; /* of what comes before data */

    memset(&u, 0, sizeof u);
    memcpy(&u, body, n < sizeof u ? n : sizeof u);
    switch (op) {
    case OP_MESSAGE: send_message(p, body, n); break;
    case OP_RAW: send_bytes(p, body, n, FD_NONE, 0); break;
    case OP_ROUNDS: rounds(p, u.byte % 16); return;
    case OP_READ: client_read(&p->client, u.byte ? u.byte : READ_ALL); return;
    case OP_TIME: host_pass(p->dev, (uint64_t)u.number * 1000); break;
    case OP_RECONNECT: reconnect(p, u.byte); return;
    case OP_ANSWER: client_answer(&p->client, &u.answer); break;
    case OP_FILE: client_resize(&p->client, &u.file); return;
    case OP_POKE: client_poke(&p->client, &u.poke, body + head, n - head); break;
    case OP_IMAGE: send_image(p, &u.image, body + head, n - head); break;
    case OP_LARGE: send_large(p, &u.large); break;
    case OP_TWIN: client_send_twin(&p->client, body, n); break;
    default: p->settings = u.byte; return;
    }
    turn(p);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    host_setup();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play play; /* it is large */
    struct play *p = &play;
    const uint8_t *body;
    size_t at = 2, n;
    uint8_t op;
    uint32_t fds;

    if (size < 2)
        return 0;
    fds = host_open_fds();
    host_begin();
    p->settings = data[1];
    p->dev = host_device(data[0] % SCRIPT_DEVICES == SCRIPT_EDU ? vfu_plugin_entry() : synthetic_plugin(),
                         p->settings & SCRIPT_DENY ? VFU_CAP_MMAP | VFU_CAP_DOORBELL | VFU_CAP_DMA_MAP : 0,
                         p->settings & SCRIPT_FEW_MAPS ? 3 : VFU_DEFAULT_MAX_DMA_MAPS);
    client_init(&p->client);
    connect_client(p);
    for (uint32_t i = 0; i < RECORDS_MAX && script_next(data, size, &at, &op, &body, &n); i++)
        step(p, op, body, n);
    settle(p);
    client_disconnect(&p->client);
    rounds(p, 2);
    end_session(p);
    if (p->dev->attached || dma_count(p->dev->dma))
        client_fail("the client is gone, its memory is not", p->dev->attached, dma_count(p->dev->dma));
    host_end(p->dev);
    client_fini(&p->client);
    if (host_open_fds() != fds)
        client_fail("descriptors are open that were not before", host_open_fds(), fds);
    return 0;
}
