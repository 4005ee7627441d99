/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * svd - a check of CMSIS-SVD 1.3 files, made after its specification (Open-CMSIS-Pack, SVD Description Format): well-formed
 * XML; elements in their order, as often as they may be there, with values in their formats; and what no schema says:
 * names are used once, fields lie in their registers and apart, registers in their blocks, values fit.
 *
 * Elements of the format that core/regsvd never writes (cpu, interrupt, writeConstraint, derivedFrom, vendorExtensions)
 * are unknown here, too.
 */
#include "tests/unit/svd.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a tree of elements -------------------------------------------------------------------------------------------- */

struct node {
    char tag[40];
    char *text; /* without what stands around it, entities resolved */
    char version[16]; /* the attribute schemaVersion */
    struct node *child, *next;
    unsigned line;
};

struct reader {
    const char *p;
    unsigned line;
};

static _Thread_local char wrong[256];

__attribute__((format(printf, 2, 3)))
static bool bad(unsigned line, const char *format, ...)
{
    va_list args;
    int n = snprintf(wrong, sizeof wrong, "line %u: ", line);

    va_start(args, format);
    vsnprintf(wrong + n, sizeof wrong - (size_t)n, format, args);
    va_end(args);
    return false;
}

static void free_tree(struct node *node)
{
    while (node) {
        struct node *next = node->next;

        free_tree(node->child);
        free(node->text);
        free(node);
        node = next;
    }
}

static void skip_space(struct reader *r)
{
    for (; *r->p && strchr(" \t\r\n", *r->p); r->p++)
        r->line += *r->p == '\n';
}

static bool read_name(struct reader *r, char *name, size_t room)
{
    size_t n = 0;

    while (isalnum((unsigned char)*r->p) || *r->p == '_' || *r->p == ':' || *r->p == '-') {
        if (n + 1 == room)
            return bad(r->line, "a name that is too long");
        name[n++] = *r->p++;
    }
    name[n] = '\0';
    return n > 0 || bad(r->line, "a name is missing before '%.10s'", r->p);
}

static bool entity(struct reader *r, char *c)
{
    static const struct {
        const char *name;
        char c;
    } all[] = { { "&lt;", '<' }, { "&gt;", '>' }, { "&amp;", '&' }, { "&quot;", '"' }, { "&apos;", '\'' } };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strncmp(r->p, all[i].name, strlen(all[i].name)) == 0) {
            *c = all[i].c;
            r->p += strlen(all[i].name);
            return true;
        }
    }
    return bad(r->line, "an '&' that begins no entity: %.10s", r->p);
}

/* The bytes of one character: 0 if they are not UTF-8, or one that XML does not allow. */
static size_t character(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;

    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if (n == 1 && p[0] < 0x20 && p[0] != '\t' && p[0] != '\n' && p[0] != '\r')
        return 0;
    if (n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
                   (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe)))
        return 0;
    return n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90)) ? 0 : n;
}

/* Up to `end`, which is left standing. */
static char *read_text(struct reader *r, char end)
{
    char *text = malloc(strlen(r->p) + 1);
    size_t n = 0;

    while (text && *r->p && *r->p != end) {
        size_t size = 1;

        r->line += *r->p == '\n';
        if (*r->p == '&') {
            if (!entity(r, &text[n++]))
                goto fail;
            continue;
        }
        if (*r->p == '<' || strncmp(r->p, "]]>", 3) == 0 || !(size = character(r->p))) {
            bad(r->line, "a character that may not stand there: %.10s", r->p);
            goto fail;
        }
        memcpy(text + n, r->p, size);
        n += size;
        r->p += size;
    }
    if (text)
        text[n] = '\0';
    return text;
fail:
    free(text);
    return NULL;
}

static bool read_attributes(struct reader *r, struct node *node)
{
    for (;;) {
        char name[40], *value;

        skip_space(r);
        if (*r->p == '>' || *r->p == '/' || *r->p == '?')
            return true;
        if (!read_name(r, name, sizeof name))
            return false;
        if (strncmp(r->p, "=\"", 2) != 0)
            return bad(r->line, "attribute %s has no value", name);
        r->p += 2;
        value = read_text(r, '"');
        if (!value)
            return false;
        if (strcmp(name, "schemaVersion") == 0)
            snprintf(node->version, sizeof node->version, "%s", value);
        else if (strncmp(name, "xs:", 3) != 0 && strncmp(name, "xmlns", 5) != 0)
            bad(r->line, "attribute %s", name);
        if (*r->p != '"')
            bad(r->line, "the end of attribute %s is missing", name);
        free(value);
        if (*wrong)
            return false;
        r->p++;
    }
}

static struct node *read_element(struct reader *r);

/* What stands between the tags: elements, or text. */
static bool read_content(struct reader *r, struct node *node)
{
    struct node **last = &node->child;

    skip_space(r);
    if (*r->p != '<' && !(node->text = read_text(r, '<')))
        return false;
    while (strncmp(r->p, "</", 2) != 0) {
        if (!*r->p)
            return bad(r->line, "the end of <%s> is missing", node->tag);
        if (node->text)
            return bad(r->line, "<%s> has text and elements", node->tag);
        *last = read_element(r);
        if (!*last)
            return false;
        last = &(*last)->next;
        skip_space(r);
    }
    return true;
}

static struct node *read_element(struct reader *r)
{
    struct node *node = calloc(1, sizeof *node);
    char tag[40];

    if (!node)
        return NULL;
    node->line = r->line;
    if (*r->p != '<') {
        bad(r->line, "an element is missing before '%.10s'", r->p);
        goto fail;
    }
    r->p++;
    if (!read_name(r, node->tag, sizeof node->tag) || !read_attributes(r, node))
        goto fail;
    if (strncmp(r->p, "/>", 2) == 0) {
        r->p += 2;
        return node;
    }
    if (*r->p != '>') {
        bad(r->line, "<%s> does not end", node->tag);
        goto fail;
    }
    r->p++;
    if (!read_content(r, node))
        goto fail;
    r->p += 2;
    if (!read_name(r, tag, sizeof tag))
        goto fail;
    if (strcmp(tag, node->tag) != 0 || *r->p != '>') {
        bad(r->line, "<%s> is closed by </%s>", node->tag, tag);
        goto fail;
    }
    r->p++;
    return node;
fail:
    free_tree(node);
    return NULL;
}

static struct node *read_file(const char *text)
{
    struct reader r = { text, 1 };
    struct node *root;

    if (strncmp(r.p, "<?xml ", 6) != 0 || !strstr(r.p, "?>")) {
        bad(1, "no XML declaration");
        return NULL;
    }
    r.p = strstr(r.p, "?>") + 2;
    skip_space(&r);
    root = read_element(&r);
    skip_space(&r);
    if (root && *r.p) {
        bad(r.line, "something behind the last element");
        free_tree(root);
        return NULL;
    }
    return root;
}

static const struct node *find(const struct node *parent, const char *tag)
{
    const struct node *node = parent->child;

    while (node && strcmp(node->tag, tag) != 0)
        node = node->next;
    return node;
}

static const char *name_of(const struct node *node)
{
    const struct node *name = find(node, "name");

    return name && name->text ? name->text : "";
}

/* ---- formats of values --------------------------------------------------------------------------------------------- */

static bool is_number(const char *text)
{
    const char *digits = "0123456789";

    text += *text == '+';
    if (strncmp(text, "0x", 2) == 0 || strncmp(text, "0X", 2) == 0) {
        digits = "0123456789abcdefABCDEF";
        text += 2;
    }
    return *text && text[strspn(text, digits)] == '\0';
}

static bool is_text(const char *text)
{
    return *text != '\0';
}

static size_t identifier(const char *text)
{
    if (!isalpha((unsigned char)*text) && *text != '_')
        return 0;
    return strspn(text, "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
}

static bool is_identifier(const char *text)
{
    return *text && text[identifier(text)] == '\0';
}

/* NAME, NAME%s, NAME[%s] */
static bool is_dimable(const char *text)
{
    size_t n = identifier(text);

    return n && (text[n] == '\0' || strcmp(text + n, "%s") == 0 || strcmp(text + n, "[%s]") == 0);
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

#define WORDS(name, ...)                                                                                               \
    static bool name(const char *text)                                                                                 \
    {                                                                                                                  \
        static const char *const words[] = { __VA_ARGS__, NULL };                                                      \
                                                                                                                       \
        return one_of(text, words);                                                                                    \
    }
WORDS(is_access, "read-only", "write-only", "read-write", "writeOnce", "read-writeOnce")
WORDS(is_write_effect, "oneToClear", "oneToSet", "oneToToggle", "zeroToClear", "zeroToSet", "zeroToToggle", "clear",
      "set", "modify")
WORDS(is_read_action, "clear", "set", "modify", "modifyExternal")
WORDS(is_usage, "registers", "buffer", "reserved")
WORDS(is_enum_usage, "read", "write", "read-write")

/* ---- elements ------------------------------------------------------------------------------------------------------ */

enum { ONCE = 1, MAYBE = 2, SOME = 4, ANY = 8, MIXED = 16 }; /* MIXED: in any order with the others so marked */

struct rule {
    const char *tag;
    unsigned often;
    bool (*format)(const char *text); /* of its text; NULL: it has elements */
    const struct rule *rules;
};

static const struct rule enum_rules[] = {
    { "name", ONCE, is_identifier, NULL }, { "description", MAYBE, is_text, NULL }, { "value", ONCE, is_number, NULL }, { 0 },
};
static const struct rule enums_rules[] = {
    { "name", MAYBE, is_identifier, NULL }, { "usage", MAYBE, is_enum_usage, NULL },
    { "enumeratedValue", SOME, NULL, enum_rules }, { 0 },
};
static const struct rule field_rules[] = {
    { "name", ONCE, is_identifier, NULL },
    { "description", MAYBE, is_text, NULL },
    { "bitOffset", ONCE, is_number, NULL },
    { "bitWidth", MAYBE, is_number, NULL },
    { "access", MAYBE, is_access, NULL },
    { "modifiedWriteValues", MAYBE, is_write_effect, NULL },
    { "readAction", MAYBE, is_read_action, NULL },
    { "enumeratedValues", MAYBE, NULL, enums_rules },
    { 0 },
};
static const struct rule fields_rules[] = { { "field", SOME, NULL, field_rules }, { 0 } };
static const struct rule register_rules[] = {
    { "dim", MAYBE, is_number, NULL },
    { "dimIncrement", MAYBE, is_number, NULL },
    { "name", ONCE, is_dimable, NULL },
    { "displayName", MAYBE, is_text, NULL },
    { "description", MAYBE, is_text, NULL },
    { "addressOffset", ONCE, is_number, NULL },
    { "size", MAYBE, is_number, NULL },
    { "access", MAYBE, is_access, NULL },
    { "resetValue", MAYBE, is_number, NULL },
    { "resetMask", MAYBE, is_number, NULL },
    { "modifiedWriteValues", MAYBE, is_write_effect, NULL },
    { "readAction", MAYBE, is_read_action, NULL },
    { "fields", MAYBE, NULL, fields_rules },
    { 0 },
};
static const struct rule cluster_rules[] = {
    { "dim", MAYBE, is_number, NULL },
    { "dimIncrement", MAYBE, is_number, NULL },
    { "name", ONCE, is_dimable, NULL },
    { "description", ONCE, is_text, NULL },
    { "addressOffset", ONCE, is_number, NULL },
    { "register", SOME | MIXED, NULL, register_rules },
    { "cluster", ANY | MIXED, NULL, cluster_rules },
    { 0 },
};
static const struct rule registers_rules[] = {
    { "register", ANY | MIXED, NULL, register_rules }, { "cluster", ANY | MIXED, NULL, cluster_rules }, { 0 },
};
static const struct rule block_rules[] = {
    { "offset", ONCE, is_number, NULL }, { "size", ONCE, is_number, NULL }, { "usage", ONCE, is_usage, NULL }, { 0 },
};
static const struct rule peripheral_rules[] = {
    { "name", ONCE, is_dimable, NULL },
    { "version", MAYBE, is_text, NULL },
    { "description", MAYBE, is_text, NULL },
    { "baseAddress", ONCE, is_number, NULL },
    { "addressBlock", SOME, NULL, block_rules },
    { "registers", MAYBE, NULL, registers_rules },
    { 0 },
};
static const struct rule peripherals_rules[] = { { "peripheral", SOME, NULL, peripheral_rules }, { 0 } };
static const struct rule device_rules[] = {
    { "vendor", MAYBE, is_text, NULL },
    { "name", ONCE, is_identifier, NULL },
    { "version", ONCE, is_text, NULL },
    { "description", ONCE, is_text, NULL },
    { "addressUnitBits", ONCE, is_number, NULL },
    { "width", ONCE, is_number, NULL },
    { "peripherals", ONCE, NULL, peripherals_rules },
    { 0 },
};

static bool follow(const struct node *parent, const struct rule *rules);

static bool check_element(const struct node *node, const struct rule *rule)
{
    if (!rule->format) {
        if (node->text)
            return bad(node->line, "<%s> has text", node->tag);
        return node->child ? follow(node, rule->rules) : bad(node->line, "<%s> is empty", node->tag);
    }
    if (node->child)
        return bad(node->line, "<%s> has elements", node->tag);
    if (!rule->format(node->text ? node->text : ""))
        return bad(node->line, "<%s> cannot be '%.60s'", node->tag, node->text ? node->text : "");
    return true;
}

/* The rule that the tag falls under, at this one or behind it. NULL: none. Those passed over must not be owed. */
static const struct rule *step(const struct node *parent, const struct node *node, const struct rule *rule, unsigned seen)
{
    for (; rule->tag; rule++, seen = 0) {
        const struct rule *mixed = rule;

        if (rule->often & MIXED) {
            while (mixed->tag && strcmp(mixed->tag, node->tag) != 0)
                mixed++;
            return mixed->tag ? mixed : NULL;
        }
        if (strcmp(rule->tag, node->tag) == 0) {
            if (seen && (rule->often & (ONCE | MAYBE)))
                bad(node->line, "a second <%s> in <%s>", node->tag, parent->tag);
            return *wrong ? NULL : rule;
        }
        if (!seen && (rule->often & (ONCE | SOME))) {
            bad(node->line, "<%s> is missing before <%s> in <%s>", rule->tag, node->tag, parent->tag);
            return NULL;
        }
    }
    return NULL;
}

static bool follow(const struct node *parent, const struct rule *rules)
{
    const struct rule *rule = rules, *first_mixed = rules;
    unsigned seen = 0, mixed = 0;

    while (first_mixed->tag && !(first_mixed->often & MIXED))
        first_mixed++;
    for (const struct node *node = parent->child; node; node = node->next) {
        const struct rule *next = step(parent, node, rule, seen);

        if (!next)
            return *wrong ? false : bad(node->line, "<%s> may not stand there in <%s>", node->tag, parent->tag);
        seen = next == rule ? seen + 1 : 1;
        rule = next->often & MIXED ? first_mixed : next;
        mixed += (next->often & MIXED) != 0;
        if (!check_element(node, next))
            return false;
    }
    for (; rule->tag; rule++, seen = 0) {
        if (!seen && !mixed && (rule->often & (ONCE | SOME)))
            return bad(parent->line, "<%s> has no <%s>", parent->tag, rule->tag);
    }
    return true;
}

/* ---- what elements mean -------------------------------------------------------------------------------------------- */

static uint64_t number(const struct node *parent, const char *tag, uint64_t fallback)
{
    const struct node *node = find(parent, tag);

    return node ? strtoull(node->text, NULL, 0) : fallback;
}

/* a and b are not below 2^64 - 1: a sum that would be is all ones. */
static uint64_t add(uint64_t a, uint64_t b)
{
    return a + b < a ? UINT64_MAX : a + b;
}

static bool names_differ(const struct node *first)
{
    for (const struct node *a = first; a; a = a->next) {
        for (const struct node *b = first; b != a; b = b->next) {
            if (*name_of(a) && strcmp(name_of(a), name_of(b)) == 0)
                return bad(a->line, "a second %s named %s", a->tag, name_of(a));
        }
    }
    return true;
}

static bool fits(uint64_t value, uint64_t bits)
{
    return bits >= 64 || value >> bits == 0;
}

static bool check_enums(const struct node *enums, uint64_t width)
{
    for (const struct node *a = enums->child; a; a = a->next) {
        if (!fits(number(a, "value", 0), width))
            return bad(a->line, "value %s does not fit into %u bits", name_of(a), (unsigned)width);
        for (const struct node *b = enums->child; b != a; b = b->next) {
            if (number(a, "value", 0) == number(b, "value", 0))
                return bad(a->line, "values %s and %s are the same", name_of(b), name_of(a));
        }
    }
    return names_differ(enums->child);
}

static bool check_fields(const struct node *fields, uint64_t bits)
{
    uint64_t taken = 0;

    for (const struct node *f = fields->child; f; f = f->next) {
        uint64_t lsb = number(f, "bitOffset", 0), width = number(f, "bitWidth", 1), mask;

        if (lsb >= bits || !width || width > bits - lsb)
            return bad(f->line, "field %s is not inside its register", name_of(f));
        mask = (width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1) << lsb;
        if (taken & mask)
            return bad(f->line, "field %s overlaps another", name_of(f));
        taken |= mask;
        if (find(f, "enumeratedValues") && !check_enums(find(f, "enumeratedValues"), width))
            return false;
    }
    return names_differ(fields->child);
}

/* An array's name, and how far it reaches from its offset on. */
static bool check_dim(const struct node *node, uint64_t size, uint64_t *span)
{
    const struct node *dim = find(node, "dim"), *increment = find(node, "dimIncrement");
    uint64_t n = number(node, "dim", 1), step = number(node, "dimIncrement", 0);

    *span = size;
    if (!dim != !increment)
        return bad(node->line, "%s has dim or dimIncrement, not both", name_of(node));
    if (!dim != !strstr(name_of(node), "%s"))
        return bad(node->line, "%s: %%s and dim go together", name_of(node));
    if (!dim)
        return true;
    if (!n || step < size)
        return bad(node->line, "%s has no elements, or they overlap", name_of(node));
    if (strcmp(node->tag, "register") == 0 && strchr(name_of(node), '[') && step != size)
        return bad(node->line, "%s is an array, and its elements do not touch", name_of(node));
    *span = n - 1 > (UINT64_MAX - size) / step ? UINT64_MAX : (n - 1) * step + size;
    return true;
}

static bool check_register(const struct node *reg, uint64_t width, uint64_t *span)
{
    uint64_t bits = number(reg, "size", width);

    if (bits % 8 || !bits || bits > width)
        return bad(reg->line, "register %s has %llu bits", name_of(reg), (unsigned long long)bits);
    if (!fits(number(reg, "resetValue", 0), bits) || !fits(number(reg, "resetMask", 0), bits))
        return bad(reg->line, "register %s: its reset value or mask does not fit", name_of(reg));
    if (find(reg, "fields") && !check_fields(find(reg, "fields"), bits))
        return false;
    return check_dim(reg, bits / 8, span);
}

/* Registers and clusters from `first` on: how far they reach. */
static bool check_registers(const struct node *parent, uint64_t width, uint64_t *reach)
{
    *reach = 0;
    for (const struct node *node = parent->child; node; node = node->next) {
        bool cluster = strcmp(node->tag, "cluster") == 0;
        uint64_t span, inside, end;

        if (!cluster && strcmp(node->tag, "register") != 0)
            continue;
        if (cluster && (!check_registers(node, width, &inside) || !check_dim(node, inside, &span)))
            return false;
        if (!cluster && !check_register(node, width, &span))
            return false;
        end = add(number(node, "addressOffset", 0), span);
        if (end > *reach)
            *reach = end;
    }
    return names_differ(parent->child);
}

static bool check_peripheral(const struct node *p, uint64_t width)
{
    const struct node *block = find(p, "addressBlock"), *registers = find(p, "registers");
    uint64_t reach = 0;

    if (registers && !check_registers(registers, width, &reach))
        return false;
    if (strstr(name_of(p), "%s"))
        return bad(p->line, "peripheral %s is no array", name_of(p));
    if (reach > add(number(block, "offset", 0), number(block, "size", 0)))
        return bad(p->line, "peripheral %s: a register is not inside its addressBlock", name_of(p));
    return true;
}

static bool check_device(const struct node *device)
{
    const struct node *first = find(device, "peripherals")->child;
    uint64_t width = number(device, "width", 0);

    if (strcmp(device->version, "1.3") != 0)
        return bad(device->line, "schemaVersion is '%s'", device->version);
    if (number(device, "addressUnitBits", 0) != 8 || (width != 32 && width != 64))
        return bad(device->line, "addressUnitBits or width is strange");
    for (const struct node *p = first; p; p = p->next) {
        uint64_t base = number(p, "baseAddress", 0), end = add(base, number(find(p, "addressBlock"), "size", 0));

        if (!check_peripheral(p, width))
            return false;
        for (const struct node *q = first; q != p; q = q->next) {
            uint64_t other = number(q, "baseAddress", 0);

            if (base < add(other, number(find(q, "addressBlock"), "size", 0)) && other < end)
                return bad(p->line, "peripherals %s and %s overlap", name_of(q), name_of(p));
        }
    }
    return names_differ(first);
}

const char *svd_check(const char *text)
{
    static const struct rule root = { "device", ONCE, NULL, device_rules };
    struct node *device;

    *wrong = '\0';
    device = read_file(text);
    if (!device)
        return *wrong ? wrong : "out of memory";
    if (strcmp(device->tag, root.tag) != 0)
        bad(device->line, "the root is <%s>", device->tag);
    else if (check_element(device, &root))
        check_device(device);
    free_tree(device);
    return *wrong ? wrong : NULL;
}
