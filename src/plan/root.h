/* SPDX-License-Identifier: Apache-2.0 */
/* Inside plan/: the entries of a root. */
#pragma once

#include "plan/builder.h"
#include "plan/make.h"

/* The root `host`, or with `bare` one without anything of the host: --bin fills it. */
void plan_root(struct builder *b, const struct plan_host *host, const char *hostname, bool bare);
/* --root DIR. Sets its facts in *p. */
void plan_root_dir(struct builder *b, struct plan *p, const struct spec *spec,
		   const struct plan_host *host, const char *hostname);

/* Parts that every root has: names of the sandbox in /etc, nodes, what of /proc is masked. */
void plan_root_mkdir(struct builder *b, const char *path, uint32_t mode, uint32_t flags);
void plan_root_text(struct builder *b, const char *path, const char *text);
void plan_root_disk(struct builder *b, const char *path, const char *name, uint32_t mode,
		    uint32_t flags);
void plan_root_names(struct builder *b, const struct plan_host *host, const char *hostname);
void plan_root_kernel(struct builder *b);
