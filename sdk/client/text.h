/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text - bytes of devices, scripts and file names as text that terminals, JSON and XML bear. Any thread.
 */
#ifndef CLIENT_TEXT_H
#define CLIENT_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

/* The bytes of the first character, whose number *code is; 0: they are not UTF-8, or NUL, or there is none. */
size_t text_char(const char *bytes, size_t size, uint32_t *code);
/* A string of JSON: NUL and what is not UTF-8 becomes \xNN. NULL if memory is out. */
json_t *text_json(const char *bytes, size_t size);
/* For people: control characters, which move a terminal's cursor or colour what follows, become '?', but tabs; a line end's CR
 * goes. Line ends become blanks: there is one line. */
void text_print(FILE *out, const char *bytes, size_t size);

#endif
