/* SPDX-License-Identifier: Apache-2.0 */
/* L5: what a sandbox wrote: a list of what its writable places hold, for each of them starts empty.
 */
#pragma once

#include <stdio.h>

#include "engine/tree.h"
#include "spec/spec.h"

/*
 * One JSON line {path,type,size,mode} for each thing below `place`, an absolute path inside. A
 * place that does not exist holds nothing. A path that is not UTF-8 is base64, and path_encoding
 * says so.
 */
int diff_place(const struct side *s, const char *place, FILE *out, struct tree_report *report,
	       struct err *e);
/* All places of a sandbox: those of every one, its --tmpfs, and what lies over the directory of
 * --root. Directories of the host (--rw, --root-rw) are not listed. */
int diff_all(const struct side *s, const struct spec *spec, FILE *out, struct tree_report *report,
	     struct err *e);
