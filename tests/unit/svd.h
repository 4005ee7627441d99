/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * svd - reads a CMSIS-SVD file and checks it against the rules of the format: a stand-in for the schema and its tools,
 * for tests of core/regsvd. Any thread.
 */
#ifndef TESTS_SVD_H
#define TESTS_SVD_H

#include <stddef.h>

/* NULL: the text is a good SVD file. Else what is wrong, and on which line; good until the next call on this thread. */
const char *svd_check(const char *text);

#endif
