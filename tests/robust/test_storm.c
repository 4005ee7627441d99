/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_storm - everybody at once: people at the control socket who set breaks, move the time, reload and leave in the
 * middle of an answer; clients that come, use DMA, reset and go; and somebody who saves the script. Under the thread
 * sanitizer this is where the races of the control socket would show. What is asked and how often is fixed; what comes
 * of it is not looked at, only that it ends, that the device works afterwards, and that nothing is left over.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PEOPLE 4
#define ROUNDS 40
#define ASKED 12

static struct rig rig;
static char device[90], control[100];
static const char *script; /* that is saved anew, or NULL */

static const char *const requests[] = {
    "{\"cmd\": \"info\"}",
    "{\"cmd\": \"map\"}",
    "{\"cmd\": \"regs\"}",
    "{\"cmd\": \"get\", \"name\": \"CMD.RUN\"}",
    "{\"cmd\": \"set\", \"name\": \"COUNT\", \"value\": 5}",
    "{\"cmd\": \"set\", \"name\": \"IRQ_STATUS\", \"value\": 1}",
    "{\"cmd\": \"eval\", \"expr\": \"self.LIVE.value + 1\"}",
    "{\"cmd\": \"eval\", \"expr\": \"error('no')\"}",
    "{\"cmd\": \"break\", \"reg\": \"LIVE\", \"timeout\": 0.002}",
    "{\"cmd\": \"break\", \"reg\": \"CMD\", \"once\": true, \"timeout\": 0.005}",
    "{\"cmd\": \"break\", \"reg\": \"LIVE\", \"access\": \"none\"}",
    "{\"cmd\": \"breaks\"}",
    "{\"cmd\": \"continue\"}",
    "{\"cmd\": \"clock\", \"mode\": \"virtual\"}",
    "{\"cmd\": \"clock\", \"mode\": \"real\"}",
    "{\"cmd\": \"advance\", \"ns\": 1000000000}",
    "{\"cmd\": \"coverage\", \"on\": true}",
    "{\"cmd\": \"coverage\", \"on\": false, \"reset\": true}",
    "{\"cmd\": \"subscribe\"}",
    "{\"cmd\": \"subscribe\", \"on\": false}",
    "{\"cmd\": \"stats\"}",
    "{\"cmd\": \"report\"}",
    "{\"cmd\": \"reload\"}",
    "{\"cmd\": \"screen\", \"file\": \"/nonexistent/picture.png\"}",
    "{\"cmd\": \"nonsense\"}",
    "nonsense",
};

static uint32_t draw(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static const char *any_request(uint32_t *seed)
{
    return requests[draw(seed) % (sizeof requests / sizeof requests[0])];
}

/* Asks and listens, and goes. */
static void *polite(void *arg)
{
    uint32_t seed = 17u + (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct vfuc_control *c;
        const char *text;

        if (vfuc_control_open(device, &c) == 0) {
            for (int k = 0; k < ASKED; k++)
                (void)vfuc_control_call(c, any_request(&seed), NULL);
            (void)vfuc_control_event(c, 0, &text);
        }
        vfuc_control_close(c);
    }
    return NULL;
}

/* Asks for much, and is gone before the answers, or in the middle of a request. */
static void *rude(void *arg)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    uint32_t seed = 99u + (uint32_t)(uintptr_t)arg;

    snprintf(address.sun_path, sizeof address.sun_path, "%s", control);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
            for (int k = 0; k < ASKED; k++) {
                const char *request = any_request(&seed);

                (void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
                (void)!send(fd, "\n", k % 3 == 2 ? 0 : 1, MSG_NOSIGNAL);
            }
            if (draw(&seed) & 1)
                shutdown(fd, SHUT_WR);
        }
        close(fd);
    }
    return NULL;
}

static void use(struct vfuc *c, uint32_t *seed)
{
    uint64_t value;
    void *memory;

    (void)vfuc_memory_new(c, 0x10000, 4096, draw(seed) & 1 ? VFUC_DMA_RW : VFUC_DMA_MESSAGES | VFUC_DMA_RW, &memory);
    (void)vfuc_irq_arm(c, 0, 1);
    for (int k = 0; k < ASKED; k++) {
        uint32_t live = draw(seed);

        (void)vfuc_get(c, 0, RIG_LIVE, 4, &value);
        (void)vfuc_post(c, 0, RIG_LIVE, &live, sizeof live);
        (void)vfuc_put(c, 0, 0x80, 8, 0x10000);
        (void)vfuc_put(c, 0, 0x88, 8, 0x40000);
        (void)vfuc_put(c, 0, 0x90, 8, 64);
        (void)vfuc_put(c, 0, 0x98, 8, 1);
        (void)vfuc_serve(c, 0);
        if (draw(seed) % 8 == 0)
            (void)vfuc_reset(c);
    }
}

static void *client(void *arg)
{
    uint32_t seed = 7;

    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 10000 * RIG_MS };
        struct vfuc *c = vfuc_new(&options);

        if (vfuc_connect(c, device) == 0)
            use(c, &seed);
        vfuc_free(c);
    }
    return NULL;
}

static void *saver(void *arg)
{
    (void)arg;
    for (int i = 0; script && i < ROUNDS / 2; i++) {
        rig_write(&rig, "beside", i % 4 == 3 ? "this is no Lua" : script);
        (void)rename(rig_path(&rig, "beside"), rig_path(&rig, "edu.lua"));
        rig_pause(10);
    }
    return NULL;
}

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    snprintf(device, sizeof device, "%s", rig_path(&rig, "s"));
    snprintf(control, sizeof control, "%s", rig_path(&rig, "s.control"));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

/* The device works, nobody's break is left, and so many descriptors are open as before. */
static void is_well(int fds)
{
    struct vfuc_control *c;
    struct vfuc *last;
    const char *reply;

    assert_int_equal(vfuc_control_open(device, &c), 0);
    assert_int_equal(vfuc_control_call(c, "{\"cmd\": \"breaks\"}", &reply), 0);
    assert_non_null(strstr(reply, "\"breaks\":[],\"held\":null"));
    assert_int_equal(vfuc_control_call(c, "{\"cmd\": \"clock\", \"mode\": \"real\"}", NULL), 0);
    vfuc_control_close(c);
    last = rig_client(&rig, "s");
    rig_alive(last);
    vfuc_free(last);
    assert_true(rig_fds_settle(&rig, fds));
}

static void storm(void)
{
    static void *(*const kinds[PEOPLE + 3])(void *) = { polite, rude, polite, rude, client, client, saver };
    pthread_t threads[PEOPLE + 3];
    int fds;

    vfuc_free(rig_client(&rig, "s"));
    rig_pause(20);
    fds = rig_fds(&rig);
    for (uintptr_t i = 0; i < PEOPLE + 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, kinds[i], (void *)i), 0);
    for (int i = 0; i < PEOPLE + 3; i++)
        pthread_join(threads[i], NULL);
    is_well(fds);
}

static void of_a_script(void **state)
{
    const char *source = getenv("VFU_SRCDIR");
    static char text[65536];
    char path[512];
    FILE *file;

    (void)state;
    snprintf(path, sizeof path, "%s/examples/edu.lua", source ? source : ".");
    file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    script = text;
    rig_write(&rig, "edu.lua", text);
    rig_start(&rig, "--reload", "--coverage", "@cover.json", "--plugin", "@edu.lua", "--socket-path", "@s", NULL);
    storm();
    script = NULL;
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

static void of_a_library(void **state)
{
    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    storm();
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

/* The end comes in the middle of it. */
static void ends_in_it(void **state)
{
    pthread_t threads[4];

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&rig, "s"));
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 1 ? client : i < 2 ? rude : polite, (void *)i), 0);
    rig_pause(100);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = { WITH(of_a_script), WITH(of_a_library), WITH(ends_in_it) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
