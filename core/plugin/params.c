/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params - KEY=VALUE parameters of a device. Main's thread declares; later only reads.
 */
#include "core/plugin/params.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/log.h"
#include "core/plugin/plugin.h"

#define PARAMS_MAX 1024u

static int shift_of(const char *suffix)
{
    static const struct {
        const char *text;
        int shift;
    } table[] = { { "", 0 }, { "K", 10 }, { "M", 20 }, { "G", 30 }, { "T", 40 } };
    char unit[2] = { suffix[0], '\0' };

    if (suffix[0] && suffix[1] && strcasecmp(suffix + 1, "iB") != 0 && strcasecmp(suffix + 1, "B") != 0)
        return -1;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcasecmp(unit, table[i].text) == 0)
            return table[i].shift;
    }
    return -1;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* strtoull would take blanks, a sign or a second prefix of its own. The result is where the digits end. */
static int parse_digits(const char *text, unsigned base, uint64_t *value, const char **end)
{
    const char *at = text;

    *value = 0;
    for (; digit_of(*at) < (int)base; at++) {
        if (__builtin_mul_overflow(*value, base, value) || __builtin_add_overflow(*value, digit_of(*at), value))
            return -ERANGE;
    }
    *end = at;
    return at == text ? -EINVAL : 0;
}

int params_parse_int(const char *text, int64_t *value)
{
    bool negative = *text == '-';
    const char *digits = text + negative;
    unsigned base = 10;
    uint64_t magnitude;
    const char *end;
    int shift, error;

    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
        base = 16;
    else if (digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B'))
        base = 2;
    else if (digits[0] == '0' && (digits[1] == 'o' || digits[1] == 'O'))
        base = 8;
    if (base != 10)
        digits += 2;
    error = parse_digits(digits, base, &magnitude, &end);
    if (error)
        return error;
    shift = shift_of(end);
    if (shift < 0)
        return -EINVAL;
    if (shift && magnitude > (UINT64_MAX >> shift))
        return -ERANGE;
    magnitude <<= shift;
    if (negative && magnitude > (uint64_t)INT64_MAX + 1)
        return -ERANGE;
    /* 0xffffffffffffffff is -1: all 64 bits are a value, as in Lua. Decimals above INT64_MAX are a mistake. */
    if (!negative && base == 10 && magnitude > INT64_MAX)
        return -ERANGE;
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 0;
}

static int parse_bool(const char *text, int64_t *value)
{
    static const char *const words[] = { "off", "on", "no", "yes", "false", "true", "0", "1" };

    for (int i = 0; i < 8; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *value = i & 1;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_enum(const struct param_value *param, const char *text, int64_t *value)
{
    for (int i = 0; param->choices && param->choices[i]; i++) {
        if (strcmp(param->choices[i], text) == 0) {
            *value = i;
            return 0;
        }
    }
    return -EINVAL;
}

static void append(char *text, size_t room, const char *format, const char *word)
{
    size_t n = strlen(text);

    if (n < room)
        snprintf(text + n, room - n, format, word);
}

static void describe_expected(const struct param_value *param, char *text, size_t room)
{
    static const char *const types[] = { "a whole number such as 4096, 0x1000 or 64M", "on or off", "text", "",
                                         "a number such as 0.25" };

    snprintf(text, room, "%s", types[param->type]);
    if (param->type == VFU_PARAM_ENUM) {
        snprintf(text, room, "one of");
        for (int i = 0; param->choices && param->choices[i]; i++)
            append(text, room, i ? ", %s" : " %s", param->choices[i]);
    }
}

/* strtod would take blanks, hexadecimal and words as well. */
static int parse_number(const char *text, double *value)
{
    char *end;

    if (!*text || text[strspn(text, "0123456789.eE+-")])
        return -EINVAL;
    *value = strtod(text, &end);
    if (end == text || *end)
        return -EINVAL;
    return isfinite(*value) ? 0 : -ERANGE;
}

static bool in_range(const struct param_value *param)
{
    bool below, above;

    if (param->type != VFU_PARAM_INT && param->type != VFU_PARAM_NUMBER)
        return true;
    below = param->type == VFU_PARAM_INT ? param->integer < param->min : param->number < (double)param->min;
    above = param->type == VFU_PARAM_INT ? param->integer > param->max : param->number > (double)param->max;
    return !((param->flags & VFU_PARAM_HAS_MIN) && below) && !((param->flags & VFU_PARAM_HAS_MAX) && above);
}

static int parse_value(const struct params *params, struct param_value *param, const char *text)
{
    char expected[512];
    int error = 0;

    if (param->type == VFU_PARAM_INT) {
        error = params_parse_int(text, &param->integer);
    } else if (param->type == VFU_PARAM_BOOL) {
        error = parse_bool(text, &param->integer);
    } else if (param->type == VFU_PARAM_ENUM) {
        error = parse_enum(param, text, &param->integer);
    } else if (param->type == VFU_PARAM_NUMBER) {
        error = parse_number(text, &param->number);
    }
    if (error) {
        describe_expected(param, expected, sizeof expected);
        log_error(params->who, "parameter %s=%s: %s, expected %s", param->name, text,
                  error == -ERANGE ? "out of range" : "not understood", expected);
        return -EINVAL;
    }
    if (!in_range(param)) {
        log_error(params->who, "parameter %s=%s: out of range; the least is %lld, the most %lld", param->name, text,
                  (long long)((param->flags & VFU_PARAM_HAS_MIN) ? param->min : INT64_MIN),
                  (long long)((param->flags & VFU_PARAM_HAS_MAX) ? param->max : INT64_MAX));
        return -EINVAL;
    }
    return 0;
}

void params_init(struct params *params, const char *who, char **items, uint32_t nitems)
{
    memset(params, 0, sizeof *params);
    params->who = who;
    params->items = items;
    params->nitems = nitems;
}

void params_fini(struct params *params)
{
    for (uint32_t i = 0; i < params->nvalues; i++) {
        struct param_value *value = &params->values[i];

        free(value->name);
        free(value->doc);
        free(value->text);
        for (int j = 0; value->choices && value->choices[j]; j++)
            free(value->choices[j]);
        free(value->choices);
    }
    free(params->values);
    memset(params, 0, sizeof *params);
}

const struct param_value *params_find(const struct params *params, const char *name)
{
    for (uint32_t i = 0; i < params->nvalues; i++) {
        if (strcmp(params->values[i].name, name) == 0)
            return &params->values[i];
    }
    return NULL;
}

static char **copy_choices(const char *const *choices)
{
    size_t n = 0;
    char **copy;

    while (choices[n] && n < PARAMS_MAX)
        n++;
    copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        copy[i] = strdup(choices[i]);
    return copy;
}

static int copy_declaration(struct params *params, const void *list, uint32_t n, uint32_t size)
{
    params->values = calloc(n ? n : 1, sizeof *params->values);
    if (!params->values)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct vfu_param param = { 0 };
        struct param_value *value = &params->values[i];

        memcpy(&param, (const char *)list + (size_t)i * size, size < sizeof param ? size : sizeof param);
        if (!param.name || !*param.name || param.type > VFU_PARAM_NUMBER || params_find(params, param.name)) {
            log_error(params->who, "the plugin declares a parameter wrongly (number %u, name %s, type %u)", i,
                      param.name ? param.name : "(none)", param.type);
            return -ENOEXEC;
        }
        value->name = strdup(param.name);
        value->doc = param.doc ? strdup(param.doc) : NULL;
        value->text = param.fallback ? strdup(param.fallback) : NULL;
        value->choices = param.choices ? copy_choices(param.choices) : NULL;
        value->type = param.type;
        value->flags = param.flags;
        value->min = param.min;
        value->max = param.max;
        params->nvalues++;
        if (!value->name)
            return -ENOMEM;
    }
    return 0;
}

static void log_unknown(const struct params *params, const char *item)
{
    char names[1024] = "";

    for (uint32_t i = 0; i < params->nvalues; i++)
        append(names, sizeof names, i ? ", %s" : "%s", params->values[i].name);
    log_error(params->who, "no parameter named %.*s; %s%s", (int)strcspn(item, "="), item,
              params->nvalues ? "there are: " : "this device takes none", names);
}

static int take_item(struct params *params, const char *item)
{
    size_t n = strcspn(item, "=");

    for (uint32_t i = 0; i < params->nvalues; i++) {
        struct param_value *value = &params->values[i];

        if ((value->flags & VFU_PARAM_PREFIX) && strncmp(value->name, item, strlen(value->name)) == 0)
            return 0; /* the plugin finds it among the items */
        if (strlen(value->name) != n || memcmp(value->name, item, n) != 0)
            continue;
        if (value->given) {
            log_error(params->who, "parameter %s is given twice", value->name);
            return -EINVAL;
        }
        free(value->text);
        value->text = strdup(item + n + (item[n] == '='));
        value->given = true;
        return value->text ? 0 : -ENOMEM;
    }
    log_unknown(params, item);
    return -EINVAL;
}

int params_declare(struct params *params, const struct vfu_param *list, uint32_t n, uint32_t size)
{
    int error;

    if (params->declared)
        return -EALREADY;
    if (n > PARAMS_MAX || (n && !list)) {
        log_error(params->who, "the plugin declares %u parameters%s; %u are possible", n,
                  list ? "" : " with a NULL list", PARAMS_MAX);
        return -ENOEXEC;
    }
    if (!plugin_elements_fit(params->who, "the declared parameters", n, n && !size ? 1 : size,
                             offsetof(struct vfu_param, fallback)))
        return -ENOEXEC;
    params->declared = true;
    error = copy_declaration(params, list, n, size ? size : (uint32_t)sizeof *list);
    for (uint32_t i = 0; !error && i < params->nitems; i++)
        error = take_item(params, params->items[i]);
    for (uint32_t i = 0; !error && i < params->nvalues; i++) {
        struct param_value *value = &params->values[i];

        if (value->text) {
            error = parse_value(params, value, value->text);
        } else if ((value->flags & VFU_PARAM_REQUIRED) && params->lenient) {
            params->incomplete = true;
        } else if (value->flags & VFU_PARAM_REQUIRED) {
            log_error(params->who, "parameter %s is required: %s", value->name, value->doc ? value->doc : "add it");
            error = -EINVAL;
        }
    }
    params->incomplete &= !error; /* what does not fit is an error in any case */
    return params->incomplete ? -EINVAL : error;
}
