/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/copy.h"

static void tell(struct result_out *o, const struct err *e, uint64_t bound)
{
	char asked[32];

	if (e->code == EFBIG) {
		text_format_size(bound, asked, sizeof(asked));
		snprintf(o->error, sizeof(o->error), "%.300s: more than the %s of --out-limit",
			 e->what, asked);
	} else {
		err_format(e, o->error, sizeof(o->error));
	}
}

static void copy_one(const struct side *inside, struct result_out *o, uint64_t *budget,
		     uint64_t bound)
{
	struct copy c = {.from = *inside,
			 .to = side_host(),
			 .from_path = o->inside,
			 .to_path = o->host,
			 .stream_fd = -EBADF,
			 .no_links = true,
			 .budget_bytes = budget,
			 .ret_files = &o->files,
			 .ret_bytes = &o->bytes};
	struct tree_report report = {0};
	struct err e = ERR_INIT;
	int r = copy_run(&c, &report, &e);

	if (r < 0)
		tell(o, &e, bound);
	else if (report.failed)
		tell(o, &report.first_failed, bound);
	else if (report.skipped)
		tell(o, &report.first_skipped, bound);
}

void out_copy(const struct spec *spec, int root_fd, uint32_t uid, uint32_t gid,
	      struct result *result)
{
	uint64_t budget = spec->out_bytes;
	struct side inside = {0};
	struct err e = ERR_INIT;
	int r = -EBADF;

	if (!spec->outs.n)
		return;
	result->outs = calloc(spec->outs.n, sizeof(*result->outs));
	if (!result->outs)
		return; /* result_encode will say that there is no memory */
	if (root_fd >= 0)
		r = side_inside(&inside, root_fd, uid, gid, &e);
	else
		err_set(&e, ERR_SOURCE, 0, "there is nothing to copy: the command did not start");
	inside.strict = true;
	for (size_t i = 0; i < spec->outs.n; i++) {
		struct result_out *o = &result->outs[result->n_outs];
		const char *colon = strchr(spec->outs.v[i], ':'); /* spec_check saw it */

		/* lint-allow: analyzer-malloc-leak: an element keeps it (gcc 12) */
		o->inside = strndup(spec->outs.v[i], (size_t)(colon - spec->outs.v[i]));
		o->host = strdup(colon + 1);
		if (!o->inside || !o->host) {
			free(o->inside);
			free(o->host);
			return;
		}
		result->n_outs++;
		if (r < 0)
			tell(o, &e, spec->out_bytes);
		else
			copy_one(&inside, o, &budget, spec->out_bytes);
	}
}
