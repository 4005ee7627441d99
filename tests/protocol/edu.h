/* SPDX-License-Identifier: BSD-3-Clause */
/* edu - tests through the client library; *state is the struct proto_host. One thread. */
#ifndef TESTS_EDU_H
#define TESTS_EDU_H

void edu_test_intx(void **state);
void edu_test_msi(void **state);
void edu_test_intx_level(void **state);
void edu_test_dma_shared(void **state);
void edu_test_dma_messages(void **state);
void edu_test_dma_twin(void **state);
void edu_test_reconnect(void **state);
void edu_test_close_behind(void **state);
void edu_test_largest(void **state);
void edu_test_unread(void **state);
void edu_test_hangup(void **state);

#endif
