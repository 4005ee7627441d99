/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regtext - texts of scripts made fit for the formats of regdump: escaped, or turned into identifiers that are used
 * only once. Any bytes will do: what is not UTF-8 comes out as U+FFFD. Any thread; a regtext_names is of one.
 */
#ifndef CORE_REGTEXT_H
#define CORE_REGTEXT_H

#include <stdbool.h>
#include <stdio.h>

enum regtext_style {
    REGTEXT_COMMENT,  /* inside of a C comment */
    REGTEXT_MARKDOWN, /* anywhere in a line or a table's cell, not to be taken for markup */
    REGTEXT_XML,      /* content, or an attribute in quotes */
};

/* True if there is nothing to print: NULL, or white space alone. */
bool regtext_blank(const char *text);
/* Prints the text as one line: white space runs become one space, none at the ends; control characters, and those that
 * turn the direction of text, become U+FFFD. */
void regtext_print(FILE *out, const char *text, enum regtext_style style);

/* The text as valid UTF-8, otherwise as it is. To be freed; NULL: no memory. */
char *regtext_utf8(const char *text);
/* Letters, digits and '_' of ASCII; each other character becomes '_'. May be empty or begin with a digit. To be freed;
 * NULL: no memory. */
char *regtext_identifier(const char *text, bool upper);

/* Names in use. { NULL } is none. */
struct regtext_names {
    void *root;
};
/* Takes the name, printf-like, or if it is in use, the name with "_2", "_3", ... behind it. Good until regtext_forget;
 * NULL: no memory. */
const char *regtext_take(struct regtext_names *names, const char *format, ...) __attribute__((format(printf, 2, 3)));
void regtext_forget(struct regtext_names *names);

#endif
