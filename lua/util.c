/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * util - arguments, options, names and suggestions for the rest of the binding.
 *
 * Everything here that takes a lua_State may raise; nothing holds memory of its own when it does: what must outlive a
 * call is in the script's arena.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lua/binding.h"

struct arena {
    struct arena *next;
    size_t room;
    char bytes[];
};

/* Declarations are few and live as long as the script, so they are never freed one by one. They count as its memory. */
void *util_alloc(lua_State *L, size_t size)
{
    struct script *s = script_of(L);
    struct arena *a = s->arena;
    size_t want = (size + 15) & ~(size_t)15;

    if (want < size || want > s->limit || s->used > s->limit - want)
        luaL_error(L, "not enough memory");
    if (!a || a->room < want) {
        size_t chunk = want > 4096 ? want : 4096;

        a = calloc(1, sizeof *a + chunk + 16);
        if (!a)
            luaL_error(L, "not enough memory");
        a->room = chunk;
        a->next = s->arena;
        s->arena = a;
        s->used += chunk;
    }
    a->room -= want;
    /* From the end downwards: `room` alone says where. The header is 16 bytes, so 16 is the alignment. */
    return a->bytes + a->room;
}

void util_arena_free(struct script *s)
{
    while (s->arena) {
        struct arena *next = s->arena->next;

        free(s->arena);
        s->arena = next;
    }
}

char *util_strdup(lua_State *L, const char *text)
{
    size_t n = strlen(text) + 1;

    return memcpy(util_alloc(L, n), text, n);
}

void util_append(lua_State *L, struct list *list, void *item)
{
    if (list->n == list->room) {
        uint32_t room = list->room ? list->room * 2 : 16;
        void **items = util_alloc(L, room * sizeof *items);

        if (list->n)
            memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->room = room;
    }
    list->items[list->n++] = item;
}

bool util_is_name(const char *text)
{
    if (!isalpha((unsigned char)*text) && *text != '_')
        return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && *text != '_')
            return false;
    return true;
}

bool util_integer(lua_State *L, int i, lua_Integer *value)
{
    int ok = 0;

    if (lua_type(L, i) != LUA_TNUMBER)
        return false;
    *value = lua_tointegerx(L, i, &ok);
    return ok;
}

const char *util_kind(lua_State *L, int i, char room[32])
{
    if (lua_type(L, i) != LUA_TNUMBER)
        return lua_isnone(L, i) ? "nothing" : luaL_typename(L, i);
    snprintf(room, 32, LUA_NUMBER_FMT, lua_tonumber(L, i));
    return room;
}

lua_Integer util_check_integer(lua_State *L, int i, const char *what)
{
    lua_Integer value = 0;

    if (!util_integer(L, i, &value))
        luaL_error(L, "%s must be an integer, not %s", what,
                   lua_type(L, i) == LUA_TNUMBER ? "a fraction or a number beyond 64 bits" : luaL_typename(L, i));
    return value;
}

/* The edit distance of two short words, swapped neighbours counting once; case counts nothing. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[3][42] = { { 0 } };
    size_t na = strlen(a), nb = strlen(b);

    if (na > 40 || nb > 40)
        return 99;
    for (size_t j = 0; j <= nb; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        unsigned *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            unsigned best = last[j - 1] + (ca != cb);

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) && cb == tolower((unsigned char)a[i - 2]) &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

static bool nearer(const char *word, const char *candidate, unsigned *best)
{
    size_t n = strlen(word);
    unsigned d = distance(word, candidate);

    if (d >= *best || d > (n < 3 ? 1 : n < 6 ? 2 : n / 3))
        return false;
    *best = d;
    return true;
}

const char *util_suggest(const char *word, const char *const *words)
{
    const char *found = NULL;
    unsigned best = 99;

    for (; *words; words++)
        if (nearer(word, *words, &best))
            found = *words;
    return found;
}

void util_push_suggestion(lua_State *L, int i, const char *word)
{
    const char *found = NULL;
    unsigned best = 99;

    i = lua_absindex(L, i);
    lua_pushnil(L);
    while (lua_next(L, i)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            continue;
        const char *key = lua_tostring(L, -1);

        /* Equal distances: the order of a table is by chance, the message is not. */
        unsigned before = best;

        if (nearer(word, key, &best) || (found && distance(word, key) == before && strcmp(key, found) < 0))
            found = key; /* a key of the table, so it stays */
    }
    if (found)
        lua_pushfstring(L, "; did you mean %s?", found);
    else
        lua_pushliteral(L, "");
}

int util_fail(lua_State *L, const char *where, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lua_pushfstring(L, "%s%s", where, text);
    lua_error(L);
    abort(); /* lua_error does not return */
}

const char *util_where(lua_State *L, int level)
{
    luaL_where(L, level);
    const char *text = util_strdup(L, lua_tostring(L, -1));
    lua_pop(L, 1);
    return text;
}

void util_keys(lua_State *L, int i, const char *what, const char *const *names, bool list)
{
    i = lua_absindex(L, i);
    if (!lua_istable(L, i))
        luaL_error(L, "%s: options are a table {NAME = value}, not %s", what, luaL_typename(L, i));
    lua_pushnil(L);
    while (lua_next(L, i)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) == LUA_TSTRING) {
            const char *key = lua_tostring(L, -1), *better;
            const char *const *name = names;

            while (*name && strcmp(*name, key))
                name++;
            if (*name)
                continue;
            better = util_suggest(key, names);
            luaL_error(L, "%s has no option \"%s\"%s%s%s", what, key, better ? "; did you mean " : "",
                       better ? better : "", better ? "?" : "");
        }
        if (!list || !lua_isinteger(L, -1))
            luaL_error(L, "%s takes options by name only", what);
    }
}

lua_Integer util_opt_integer(lua_State *L, int i, const char *what, const char *key, lua_Integer fallback,
                             lua_Integer min, lua_Integer max)
{
    lua_Integer value = fallback;

    if (lua_getfield(L, i, key) != LUA_TNIL) {
        if (!util_integer(L, -1, &value) || value < min || value > max) {
            char range[80];

            snprintf(range, sizeof range, "%lld to 0x%llx", (long long)min, (long long)max);
            luaL_error(L, "%s: %s must be an integer from %s, not %s", what, key, range, luaL_tolstring(L, -1, NULL));
        }
    }
    lua_pop(L, 1);
    return value;
}

bool util_opt_bool(lua_State *L, int i, const char *what, const char *key)
{
    int type = lua_getfield(L, i, key);
    bool value = lua_toboolean(L, -1);

    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        luaL_error(L, "%s: %s must be true or false, not %s", what, key, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    return value;
}

const char *util_opt_string(lua_State *L, int i, const char *what, const char *key)
{
    const char *value = NULL;
    int type = lua_getfield(L, i, key);

    if (type == LUA_TSTRING)
        value = util_strdup(L, lua_tostring(L, -1));
    else if (type != LUA_TNIL)
        luaL_error(L, "%s: %s must be a string, not %s", what, key, luaL_typename(L, -1));
    lua_pop(L, 1);
    return value;
}

static const struct {
    const char *name;
    int value;
} errnos[] = {
    { "EPERM", EPERM },
    { "ENOENT", ENOENT },
    { "EINTR", EINTR },
    { "EIO", EIO },
    { "ENXIO", ENXIO },
    { "E2BIG", E2BIG },
    { "EAGAIN", EAGAIN },
    { "ENOMEM", ENOMEM },
    { "EACCES", EACCES },
    { "EFAULT", EFAULT },
    { "EBUSY", EBUSY },
    { "EEXIST", EEXIST },
    { "ENODEV", ENODEV },
    { "EINVAL", EINVAL },
    { "EFBIG", EFBIG },
    { "ENOSPC", ENOSPC },
    { "EROFS", EROFS },
    { "EPIPE", EPIPE },
    { "EDOM", EDOM },
    { "ERANGE", ERANGE },
    { "ENOSYS", ENOSYS },
    { "ENODATA", ENODATA },
    { "EPROTO", EPROTO },
    { "EBADMSG", EBADMSG },
    { "EOVERFLOW", EOVERFLOW },
    { "EMSGSIZE", EMSGSIZE },
    { "ENOTSUP", ENOTSUP },
    { "EOPNOTSUPP", EOPNOTSUPP },
    { "ENOBUFS", ENOBUFS },
    { "ENOTCONN", ENOTCONN },
    { "ETIMEDOUT", ETIMEDOUT },
    { "EALREADY", EALREADY },
    { "EINPROGRESS", EINPROGRESS },
    { "ECANCELED", ECANCELED },
    { "EILSEQ", EILSEQ },
};

int util_errno(const char *name)
{
    for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++)
        if (!strcmp(errnos[i].name, name))
            return errnos[i].value;
    return 0;
}

const char *util_errno_name(int number)
{
    for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++)
        if (errnos[i].value == number)
            return errnos[i].name;
    return "EIO";
}

bool util_size(const char *text, lua_Integer *value)
{
    static const char units[] = "KMGT";
    int base = 10;
    char *end;
    unsigned long long v;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
    } else if (text[0] == '0' && (text[1] == 'b' || text[1] == 'B')) {
        base = 2;
        text += 2;
    }
    if (!isxdigit((unsigned char)*text)) /* strtoull would take blanks and signs */
        return false;
    errno = 0;
    v = strtoull(text, &end, base);
    if (errno || end == text)
        return false;
    if (*end) {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        unsigned shift = unit ? 10u * (unsigned)(unit - units + 1) : 0;

        if (!unit || end[1] || (v << shift) >> shift != v)
            return false;
        v <<= shift;
    }
    if (v > INT64_MAX && base == 10)
        return false;
    *value = (lua_Integer)v;
    return true;
}

const char *util_no_file(const char *path, uint64_t most)
{
    struct stat st;

    if (stat(path, &st) < 0 || (S_ISREG(st.st_mode) && (uint64_t)st.st_size <= most))
        return NULL;
    return S_ISDIR(st.st_mode) ? strerror(EISDIR) : S_ISREG(st.st_mode) ? "it is over 16 MiB" : "it is no regular file";
}

/* Members on top -> a proxy that reads them. Its own table stays empty, so that every assignment meets newindex. */
void util_push_proxy(lua_State *L, const char *what, lua_CFunction newindex)
{
    lua_newtable(L); /* members proxy */
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -3);
    lua_pushstring(L, what);
    lua_pushcclosure(L, newindex, 2); /* upvalues: members, what */
    lua_setfield(L, -2, "__newindex");
    lua_pushstring(L, what);
    lua_setfield(L, -2, "__name");
    lua_pushstring(L, what);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}
