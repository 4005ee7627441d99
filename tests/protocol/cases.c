/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cases - the list of tables. They are written for the edu device: BAR0 of 1 MiB, INTx, one MSI, 256 bytes of config
 * space. A new case is an entry of a table, a new table a file and a line here. No state.
 */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_framing, proto_version, proto_info, proto_access, proto_multi, proto_irqs,
    proto_maps, proto_migrate;

const struct proto_table *const proto_tables[] = {
    &proto_framing, &proto_version, &proto_info, &proto_access, &proto_multi, &proto_irqs, &proto_maps, &proto_migrate,
};
const size_t proto_ntables = sizeof proto_tables / sizeof proto_tables[0];
