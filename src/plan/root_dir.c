/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root that a directory of the host gives (--root DIR). What belongs to the sandbox, and not to
 * the directory, is made in a skeleton of its own, which is the overlay's upper-most lower layer:
 * whatever DIR has at these places, a symlink or a file, lies below a directory of ours and can't
 * lead anywhere.
 *
 *   skeleton   /proc /dev /tmp: mounts, as in every root. /run/cleave. Names in /etc.
 *   DIR        everything else
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "plan/root.h"

#define ACCOUNT_BYTES (512u << 10) /* room in the skeleton for copies of passwd and group */

static const struct {
	const char *path;
	uint32_t mode, flags;
} directories[] = {
	{"/etc", 0755, 0},
	{"/proc", 0755, 0},
	{"/dev", 0755, 0},
	{"/home", 0755, 0},
	{"/home/user", 0755, PLAN_OWNED},
	{"/root", 0700, 0},
	{"/run", 0755, 0},
	{"/run/cleave", 0755, 0},
	{"/tmp", 01777, 0},
	{"/dev/pts", 0755, 0},
};

static const struct {
	const char *path;
	enum plan_kind kind;
	uint32_t mode; /* where --root-rw has to make it */
} ours[] = {
	{"/proc", PLAN_MOVE, 0555},
	{"/dev", PLAN_SHOW, 0755},
	{"/tmp", PLAN_MOVE, 01777},
	{"/run/cleave", PLAN_SHOW, 0755},
};

/* Of these --root-rw sees ours where DIR has a file of that name. */
static const char *const names[] = {"/etc/passwd",      "/etc/group",    "/etc/hosts",
				    "/etc/resolv.conf", "/etc/hostname", "/etc/machine-id"};

/* The line that makes the workload's id a name, for DIRs whose own files don't know it. */
static void add_account(struct builder *b, const char *path, const char *others, const char *line,
			uint32_t id)
{
	char text[512];
	struct plan_entry *e;

	snprintf(text, sizeof(text), "%s%s", others, line);
	plan_root_text(b, path, text); /* where DIR has none */
	e = builder_entry(b, PLAN_ACCOUNTS, PLAN_ACCOUNT, path, line);
	e->size = id;
	e->mode = 0644;
}

static void add_accounts(struct builder *b, const struct plan *p)
{
	bool root = p->uid == 0;

	add_account(b, "/etc/passwd", root ? "" : "root:x:0:0:root:/root:/bin/sh\n",
		    root ? "root:x:0:0:root:/root:/bin/sh\n"
			 : "user:x:1000:1000:user:/home/user:/bin/sh\n",
		    p->uid);
	add_account(b, "/etc/group", root ? "" : "root:x:0:\n",
		    root ? "root:x:0:\n" : "user:x:1000:\n", p->gid);
}

void plan_root_dir(struct builder *b, struct plan *p, const struct spec *spec,
		   const struct plan_host *host, const char *hostname)
{
	struct plan_entry *e;

	p->facts |= PLAN_DIR | (spec->root_rw ? PLAN_DIR_ITSELF : PLAN_OVERLAY);
	p->root_bytes += ACCOUNT_BYTES;
	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		plan_root_mkdir(b, directories[i].path, directories[i].mode, directories[i].flags);
	add_accounts(b, p);
	plan_root_names(b, host, hostname);
	plan_root_disk(b, "/tmp", "tmp", 01777, 0);
	plan_root_disk(b, "/dev/shm", "shm", 01777, 0);
	plan_root_kernel(b);
	e = builder_entry(b, PLAN_DIRECTORY, host->root ? PLAN_BIND_FD : PLAN_BIND, "/",
			  spec->root);
	e->flags = spec->root_rw ? 0 : PLAN_READ_ONLY;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		builder_entry(b, PLAN_OURS, ours[i].kind, ours[i].path, NULL)->mode = ours[i].mode;
	if (!spec->root_rw) {
		plan_root_mkdir(b, PLAN_WRITTEN_PLACE, 0755, 0);
		builder_entry(b, PLAN_OURS, PLAN_WRITTEN, PLAN_WRITTEN_PLACE, NULL);
		return;
	}
	builder_entry(b, PLAN_OURS, PLAN_OWN_DIR, "/home/user", NULL)->flags = PLAN_OWNED;
	builder_entry(b, PLAN_OURS, PLAN_OWN_DIR, "/root", NULL)->mode = 0700;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		builder_entry(b, PLAN_NAMES, PLAN_SHOW, names[i], NULL);
}
