/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the Lua binding leaves out of the plugin interface: nothing, or it is listed here with the reason. The members of
 * the two tables and the capability flags are read from the header itself, so that a new one has to be thought of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct left_out {
    const char *name, *reason;
};

static const struct left_out host_left_out[] = {
    { "struct_size", "the binding reads members of the first release only" },
    { "abi_version", "the loader has compared it" },
    { "ctx", "the host's own" },
    { "watch_fd", "a script has no file descriptors: io is closed to it" },
    { "unwatch_fd", "as watch_fd" },
    { "poll_every", "dev:every calls as often as a script can follow; polling is for code that answers in nanoseconds" },
    { NULL, NULL },
};

static const struct left_out plugin_left_out[] = {
    { "needs", "a script's own needs are in its description" },
    { "params", "a script's parameters are its own: they are declared in describe" },
    { "nparams", "as params" },
    { "param_size", "as params" },
    { NULL, NULL },
};

/* dev:granted knows every capability by name. */
static const struct left_out caps_left_out[] = { { NULL, NULL } };

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, (size_t)1 << 20);

    if (!f || !text)
        fail_msg("no file %s", path);
    if (fread(text, 1, ((size_t)1 << 20) - 1, f) == 0)
        fail_msg("%s is empty", path);
    fclose(f);
    return text;
}

static const char *source_path(const char *name)
{
    static char path[4096];
    const char *dir = getenv("VFU_SRCDIR");

    snprintf(path, sizeof path, "%s/%s", dir ? dir : ".", name);
    return path;
}

/* All of lua/NAME.c, one behind the other. */
static char *binding_text(void)
{
    char dir[4096], path[4096 + 260], *all = calloc(1, (size_t)8 << 20);
    size_t used = 0;
    struct dirent *entry;
    DIR *d;

    snprintf(dir, sizeof dir, "%s", source_path("lua"));
    d = opendir(dir);
    assert_non_null(d);
    assert_non_null(all);
    while ((entry = readdir(d))) {
        size_t n = strlen(entry->d_name);
        char *text;

        if (n < 3 || strcmp(entry->d_name + n - 2, ".c"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        text = read_file(path);
        n = strlen(text);
        assert_true(used + n < (size_t)8 << 20);
        memcpy(all + used, text, n);
        used += n;
        free(text);
    }
    closedir(d);
    return all;
}

static void blank_comments(char *text)
{
    for (char *start = strstr(text, "/*"); start; start = strstr(start, "/*")) {
        char *end = strstr(start, "*/");

        assert_non_null(end);
        memset(start, ' ', (size_t)(end + 2 - start));
    }
}

static const struct left_out *find(const struct left_out *list, const char *name)
{
    for (; list->name; list++)
        if (!strcmp(list->name, name))
            return list;
    return NULL;
}

static bool matches(const char *text, const char *format, const char *name)
{
    char pattern[256];
    regex_t regex;
    bool found;

    snprintf(pattern, sizeof pattern, format, name);
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    found = !regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    return found;
}

/* The names of a struct's members: the identifier before each ';', or that of (*name)(...). */
static unsigned members(const char *header, const char *type, char names[][64], unsigned max)
{
    char start[80];
    const char *p, *end;
    unsigned n = 0;

    snprintf(start, sizeof start, "\nstruct %s {", type);
    p = strstr(header, start);
    assert_non_null(p);
    p += strlen(start);
    end = strstr(p, "\n};");
    assert_non_null(end);
    while (p < end) {
        const char *stop = memchr(p, ';', (size_t)(end - p)), *name, *pointer;

        if (!stop)
            break;
        pointer = memmem(p, (size_t)(stop - p), "(*", 2);
        for (const char *part = p; part && part < stop;) { /* "uint32_t a, b" */
            const char *comma = pointer ? NULL : memchr(part, ',', (size_t)(stop - part));

            name = pointer ? pointer + 2 : (comma ? comma : stop);
            if (!pointer)
                while (name > p && (name[-1] == '_' || (name[-1] >= '0' && name[-1] <= '9') ||
                                    (name[-1] >= 'a' && name[-1] <= 'z')))
                    name--;
            assert_true(n < max);
            snprintf(names[n++], 64, "%.*s", (int)strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), name);
            part = comma ? comma + 1 : NULL;
        }
        p = stop + 1;
    }
    assert_true(n > 10);
    return n;
}

static void compare(const char *what, char names[][64], unsigned n, const char *text, const char *format,
                    const struct left_out *list)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < n; i++) {
        const struct left_out *reason = find(list, names[i]);
        bool used = matches(text, format, names[i]);

        if (!used && !reason) {
            print_error("%s.%s is not used by lua/*.c: give it to scripts, or a reason in %s\n", what, names[i], __FILE__);
            wrong++;
        }
        if (used && reason) {
            print_error("%s.%s is used, and listed as left out: %s\n", what, names[i], reason->reason);
            wrong++;
        }
    }
    for (; list->name; list++) {
        bool there = false;

        for (unsigned i = 0; i < n; i++)
            there |= !strcmp(names[i], list->name);
        if (!there) {
            print_error("%s.%s is listed as left out, and is not there\n", what, list->name);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_host(void **state)
{
    char *header = read_file(source_path("sdk/include/vfu/plugin.h")), *text = binding_text(), names[128][64];

    (void)state;
    blank_comments(header);
    blank_comments(text);
    compare("vfu_host", names, members(header, "vfu_host", names, 128), text, "(host->|host, )%s[^a-z_0-9]",
            host_left_out);
    free(header);
    free(text);
}

static void test_plugin(void **state)
{
    char *header = read_file(source_path("sdk/include/vfu/plugin.h")), *text = read_file(source_path("lua/entry.c")),
         names[128][64];

    (void)state;
    blank_comments(header);
    compare("vfu_plugin", names, members(header, "vfu_plugin", names, 128), text, "[ {]\\.%s = ", plugin_left_out);
    free(header);
    free(text);
}

static void test_caps(void **state)
{
    char *header = read_file(source_path("sdk/include/vfu/plugin.h")), *text = read_file(source_path("lua/grant.c")),
         names[128][64];
    unsigned n = 0;

    (void)state;
    for (const char *p = strstr(header, "#define VFU_CAP_"); p; p = strstr(p + 1, "#define VFU_CAP_")) {
        assert_true(n < 128);
        snprintf(names[n++], 64, "%.*s", (int)strcspn(p + 8, " "), p + 8);
    }
    assert_true(n >= 18);
    compare("capability", names, n, text, ", %s }", caps_left_out);
    free(header);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_plugin),
        cmocka_unit_test(test_caps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
