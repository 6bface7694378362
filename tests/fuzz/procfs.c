/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc of a workload: status, stat, smaps and the fdinfo of descriptors without a file. The kernel
 * writes these texts, but names in them are the workload's.
 */
#include "fuzz.h"

#include "fork/descriptors.h"

static void status(char *s)
{
	struct proc_status st;

	if (proc_status_parse(s, &st) == 0)
		FUZZ_CHECK(st.ns_pid > 0 && st.state);
}

static void stat_line(const char *s)
{
	struct proc_stat st;

	if (proc_stat_parse(s, &st) == 0)
		FUZZ_CHECK(strlen(st.comm) < sizeof(st.comm));
}

static void smaps(char *s, size_t size)
{
	struct proc_map *m;
	size_t n;

	if (proc_smaps_parse(s, &m, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		FUZZ_CHECK(m[i].path >= s && m[i].path + strlen(m[i].path) <= s + size);
		for (uint32_t k = 0; k < m[i].n_vmflags; k++)
			FUZZ_CHECK(strlen(m[i].vmflags[k]) == 2);
	}
	free(m);
}

static void fdinfo(const char *kind, const char *s)
{
	struct harvest h = {0};
	struct open_file f = {.fd = 3, .inside_pid = 2};
	struct open_table t = {.file = &f, .n_files = 1};
	struct err e = ERR_INIT;

	FUZZ_CHECK(image_builder_add(&h.b, IMAGE_OFD, NULL));
	if (anon_record(&h, &t, 0, kind, s, &e) == 0) {
		const struct image_ofd *o = ofd_at(&h, 0);

		FUZZ_CHECK(o->watches.count == image_builder_count(&h.b, IMAGE_WATCH));
	} else {
		FUZZ_CHECK(e.id == ERR_UNFORKABLE);
	}
	image_builder_done(&h.b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kinds[] = {"[eventfd]", "[signalfd]", "[timerfd]", "[eventpoll]",
					    "[else]"};
	unsigned which = fuzz_selector(&data, &size) % 8;
	char *s = fuzz_text(data, size);

	if (which == 0)
		status(s);
	else if (which == 1)
		stat_line(s);
	else if (which == 2)
		smaps(s, size);
	else
		fdinfo(kinds[which - 3], s);
	free(s);
	return 0;
}
