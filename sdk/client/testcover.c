/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testcover - what the tests of a file have touched together: each host tells of its own run (vfu-control(7),
 * "coverage"), and here it is added up by register. What a host does not tell is not there. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"

#include <string.h>

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void add_number(json_t *to, const json_t *from, const char *key)
{
    json_object_set_new(to, key, json_integer(number(to, key) + number(from, key)));
}

static json_t *child(json_t *parent, const char *key)
{
    json_t *there = json_object_get(parent, key);

    if (there)
        return there;
    json_object_set_new(parent, key, json_object());
    return json_object_get(parent, key);
}

static void add_register(json_t *registers, const json_t *one)
{
    const char *name = json_string_value(json_object_get(one, "name")), *key;
    json_t *to, *field, *count;
    size_t i;

    if (!name)
        return;
    to = child(registers, name);
    add_number(to, one, "reads");
    add_number(to, one, "writes");
    json_object_foreach(json_object_get(one, "hooks"), key, count)
        add_number(child(to, "hooks"), json_object_get(one, "hooks"), key);
    json_array_foreach(json_object_get(one, "fields"), i, field) {
        const char *field_name = json_string_value(json_object_get(field, "name"));
        json_t *known = field_name ? child(child(to, "fields"), field_name) : NULL;

        if (known && (json_is_true(json_object_get(field, "read")) || json_is_true(json_object_get(field, "written"))))
            json_object_set_new(known, "touched", json_true());
    }
}

static void add_nothing(json_t *all, json_t *item)
{
    const char *region = json_string_value(json_object_get(item, "region"));
    json_t *places = child(all, "nothing"), *place;
    char key[96];

    json_object_set_new(all, "unmodelled",
                        json_integer(number(all, "unmodelled") + number(item, "reads") + number(item, "writes")));
    snprintf(key, sizeof key, "%.32s+0x%llx/%lld", region ? region : "?", (unsigned long long)number(item, "offset"),
             (long long)number(item, "size"));
    place = json_object_get(places, key);
    if (place) {
        add_number(place, item, "reads");
        add_number(place, item, "writes");
    } else {
        json_object_set_new(places, key, json_copy(item));
    }
}

void testcover_add(json_t **all, const json_t *one)
{
    const json_t *registers = json_object_get(one, "registers");
    json_t *unmodelled = json_object_get(one, "unmodelled"), *item;
    size_t i;

    if (!json_is_array(registers))
        return;
    if (!*all)
        *all = json_object();
    /* a register's own list has hooks that it lacks, with 0 runs */
    if (number(json_object_get(one, "summary"), "hooks") > number(*all, "hooks"))
        json_object_set(*all, "hooks", json_object_get(json_object_get(one, "summary"), "hooks"));
    json_array_foreach(registers, i, item)
        add_register(child(*all, "registers"), item);
    json_array_foreach(unmodelled, i, item)
        add_nothing(*all, item);
}

json_t *testcover_nothing(const json_t *all)
{
    return json_object_get(all, "nothing");
}

bool testcover_sum(const json_t *all, struct testcover_sum *sum, char *untouched, size_t size)
{
    const char *name, *key;
    json_t *reg, *item;

    memset(sum, 0, sizeof *sum);
    untouched[0] = '\0';
    if (!json_object_get(all, "registers"))
        return false;
    json_object_foreach(json_object_get(all, "registers"), name, reg) {
        bool touched = number(reg, "reads") || number(reg, "writes");
        size_t used = strlen(untouched);

        sum->registers++;
        sum->registers_touched += touched;
        if (!touched)
            snprintf(untouched + used, size - used, "%s%s", used ? ", " : "", name);
        json_object_foreach(json_object_get(reg, "fields"), key, item) {
            sum->fields++;
            sum->fields_touched += json_is_true(json_object_get(item, "touched"));
        }
        json_object_foreach(json_object_get(reg, "hooks"), key, item)
            sum->hooks_run += json_integer_value(item) > 0;
    }
    sum->hooks = (int)number(all, "hooks");
    sum->unmodelled = (int)number(all, "unmodelled");
    return true;
}
