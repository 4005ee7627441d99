/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text - bytes of devices, scripts and file names as text: see text.h. Any thread.
 */
#include "sdk/client/text.h"

#include <stdlib.h>
#include <string.h>

/* RFC 3629: no longer forms than needed, no surrogates, nothing above 0x10ffff. */
size_t text_char(const char *bytes, size_t size, uint32_t *code)
{
    static const uint32_t least[] = { 0, 0x01, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)bytes;
    size_t n;

    if (!size)
        return 0;
    n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                                                        : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (!n || n > size)
        return 0;
    *code = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (p[i] & 0x3fu);
    }
    return *code >= least[n] && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff) ? n : 0;
}

json_t *text_json(const char *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    json_t *value = memchr(bytes, 0, size) ? NULL : json_stringn(bytes, size);
    char *copy, *to;

    if (value)
        return value;
    copy = to = malloc(4 * size + 1);
    if (!copy)
        return NULL;
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t n = text_char(bytes + i, size - i, &code);

        if (n) {
            memcpy(to, bytes + i, n);
        } else {
            unsigned char c = (unsigned char)bytes[i];

            memcpy(to, (char[4]){ '\\', 'x', digits[c >> 4], digits[c & 15] }, 4);
        }
        to += n ? n : 4;
        i += n ? n : 1;
    }
    value = json_stringn(copy, (size_t)(to - copy));
    free(copy);
    return value;
}

void text_print(FILE *out, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size;) {
        uint32_t code;
        size_t n = text_char(bytes + i, size - i, &code);

        if (n && code == '\n')
            putc(' ', out);
        else if (n && code == '\r' && (i + 1 == size || bytes[i + 1] == '\n'))
            ;
        else if (!n || (code < ' ' && code != '\t') || (code >= 0x7f && code < 0xa0))
            putc('?', out);
        else
            fwrite(bytes + i, 1, n, out);
        i += n ? n : 1;
    }
}
