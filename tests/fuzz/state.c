/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keepers left in the state directory, as `ps`, `gc` and `rm` read it: the first line is the
 * name that is asked for, the rest is journal, lone journal and state.json at once.
 */
#include "fuzz.h"

#include <cleave/cleave.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "engine/journal.h"
#include "engine/registry.h"

#define ID "0123456789ab"

static void put(int dir_fd, const char *path, const char *text)
{
	int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int state = fuzz_directory("state");
	char *name = fuzz_text(data, size), *text = strchr(name, '\n'), *report = NULL, *list;
	char id[REGISTRY_ID];
	struct err e = ERR_INIT;

	if (text)
		*text++ = 0;
	setenv("CLEAVE_STATE", FUZZ_PLACE "/state", 1);
	FUZZ_CHECK(mkdirat(state, "sandboxes", 0700) == 0 &&
		   mkdirat(state, "sandboxes/" ID, 0700) == 0 &&
		   mkdirat(state, "names", 0700) == 0);
	put(state, "sandboxes/" ID "/state.json", text ?: "");
	put(state, "sandboxes/" ID "/journal", text ?: "");
	put(state, "sandboxes/ba9876543210", text ?: "");
	FUZZ_CHECK(symlinkat("no such id", state, "names/lost") == 0);
	if (registry_find(name, id, &e) == 0)
		FUZZ_CHECK(strlen(id) == REGISTRY_ID - 1);
	if (registry_claim(*name ? name : "x", ID, &e) == 0)
		registry_release(name, ID);
	list = cleave_list();
	FUZZ_CHECK(list);
	free(list);
	if (size % 2)
		ignore_err(registry_forget(ID, &e), "what it says is nobody's");
	FUZZ_CHECK(journal_gc(&report, &e) >= 0);
	FUZZ_CHECK(registry_sweep(&report, &e) == 0);
	free(report);
	free(name);
	close(state);
	fuzz_clean("state");
	return 0;
}
