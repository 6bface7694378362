/* SPDX-License-Identifier: Apache-2.0 */
/* mountinfo, /proc/self/cgroup and the files of a cgroup directory. */
#include "fuzz.h"

#include "kern/cgroup_internal.h"

static bool terminated(const char *s, size_t size)
{
	return memchr(s, 0, size) != NULL;
}

static void paths(const char *self)
{
	struct cgroup_mount m = {.version = 2, .root = "/", .point = "/sys/fs/cgroup"};
	char own[256], up[256];

	if (cgroup_parse_own(&m, self, own, sizeof(own)) == 0) {
		FUZZ_CHECK(terminated(own, sizeof(own)) && !strncmp(own, m.point, 14));
		for (memcpy(up, own, sizeof(up)); cgroup_path_up(up, m.point);)
			FUZZ_CHECK(!strncmp(up, m.point, 14));
	}
	if (cgroup_path_is_ours(self))
		FUZZ_CHECK(strstr(self, "/cleave/") && !strstr(self, "/../"));
}

static void texts(const char *s, size_t size)
{
	struct cgroup_mount m[CGROUP_MOUNT_MAX];
	char path[300];
	int n = cgroup_parse_mountinfo(s, size, m, CGROUP_MOUNT_MAX);

	FUZZ_CHECK(n >= 0 && n <= CGROUP_MOUNT_MAX);
	for (int i = 0; i < n; i++)
		FUZZ_CHECK(m[i].root[0] == '/' && m[i].point[0] == '/' &&
			   terminated(m[i].root, sizeof(m[i].root)) &&
			   terminated(m[i].point, sizeof(m[i].point)));
	for (uint32_t ctls = 0; ctls <= CGROUP_BIT(CGROUP_FREEZER); ctls++)
		if (cgroup_parse_self(s, size, ctls, path, sizeof(path)) == 0) {
			FUZZ_CHECK(path[0] == '/' && terminated(path, sizeof(path)));
			paths(path);
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned which = fuzz_selector(&data, &size) % 4;
	uint8_t *exact = malloc(size ? size : 1); /* these texts have no NUL at the end */
	char *s = fuzz_text(data, size);
	const char *at = s;

	FUZZ_CHECK(exact);
	memcpy(exact, s, size);
	if (which == 0) {
		texts((const char *)exact, size);
	} else if (which == 1) {
		FUZZ_CHECK(cgroup_parse_ctls((const char *)exact, size) < CGROUP_BIT(CGROUP_CTL_N));
	} else if (which == 2) {
		cgroup_parse_u64(s);
		cgroup_parse_key(s, "oom_kill");
		for (long pid; (pid = cgroup_parse_pid(&at)) >= 0;)
			FUZZ_CHECK(pid <= INT32_MAX && at <= s + size);
	} else {
		paths(s);
	}
	free(exact);
	free(s);
	return 0;
}
