/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crc - vfu.crc32: the checksum of Ethernet, gzip and PNG over a string.
 *
 * Devices that checksum what they move do it over megabytes, and a byte at a time in Lua is a hundred times too slow.
 * The tables are the process's, made once; nothing else is shared. Runs on the script's thread.
 */
#include <pthread.h>
#include <stdint.h>

#include "lua/binding.h"

#define POLYNOMIAL UINT32_C(0xedb88320) /* the least significant bit first */

/* table[k][b]: what byte b does to the checksum when k more bytes follow it. */
static uint32_t table[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;

        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
        table[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t b = 0; b < 256; b++)
            table[k][b] = table[0][table[k - 1][b] & 0xff] ^ table[k - 1][b] >> 8;
}

/* Eight bytes a turn: their table lookups do not wait for one another. */
static uint32_t update(uint32_t c, const unsigned char *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8) {
        c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        c = table[7][c & 0xff] ^ table[6][c >> 8 & 0xff] ^ table[5][c >> 16 & 0xff] ^ table[4][c >> 24] ^
            table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n; n--, p++)
        c = table[0][(c ^ *p) & 0xff] ^ c >> 8;
    return c;
}

int crc_crc32(lua_State *L)
{
    size_t n;
    const char *data;
    lua_Integer before = 0;

    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_error(L, "vfu.crc32 takes a string, not %s", luaL_typename(L, 1));
    data = lua_tolstring(L, 1, &n);
    if (!lua_isnoneornil(L, 2))
        before = util_check_integer(L, 2, "vfu.crc32: the checksum to go on from");
    pthread_once(&once, make_table);
    lua_pushinteger(L, (lua_Integer)(uint32_t)~update(~(uint32_t)before, (const unsigned char *)data, n));
    return 1;
}
