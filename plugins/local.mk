# SPDX-License-Identifier: BSD-3-Clause
# Device models as shared objects, one folder each: plugins/NAME/NAME.la. They use the public header and nothing else.

plugin_LTLIBRARIES += plugins/edu/edu.la
plugins_edu_edu_la_SOURCES = plugins/edu/edu.c
plugins_edu_edu_la_LDFLAGS = $(MODULE_LDFLAGS)
