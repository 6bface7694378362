/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root called `host`: which of the host's files a sandbox sees, as tables. Everything that is
 * not listed here or asked for by an option does not exist inside. A bare root is the same without
 * the host's files.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "plan/root.h"

const char *const plan_top_names[PLAN_TOPS] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

static const char *const directories[] = {
	"/usr", "/etc",        "/home", "/proc", "/dev", "/dev/pts",
	"/run", "/run/cleave", "/var",  "/opt",  "/mnt", "/srv",
};

struct link {
	const char *target, *text;
};

static const struct link dev_links[] = {
	{"/dev/fd", "/proc/self/fd"},       {"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
	{"/dev/ptmx", "pts/ptmx"},
};

static const struct link links[] = {
	{"/etc/mtab", "/proc/self/mounts"},
	{"/etc/os-release", "../usr/lib/os-release"},
	{"/var/run", "../run"},
};

/*
 * What of /etc enters, read-only: the loader's cache and the alternatives that /usr points to, time
 * zone, certificates, and the settings without which a program in /usr does not start. No host
 * name, account, network, mount table or secret.
 */
static const char *const etc_binds[] = {
	"ld.so.cache",     "alternatives", "localtime",       "ssl/certs",
	"ssl/openssl.cnf", "vim",          "java-11-openjdk", "java-17-openjdk",
	"java-21-openjdk", "fonts",        "services",        "protocols",
	"mime.types",      "inputrc",      "bash.bashrc",     "terminfo",
};

/* Places that can be written: directories of the one disk. */
static const struct {
	const char *name, *target;
	uint32_t mode;
	bool owned;
} disk_places[] = {
	{"home", "/home/user", 0755, true}, {"root", "/root", 0755, true},
	{"tmp", "/tmp", 01777, false},      {"var-tmp", "/var/tmp", 01777, false},
	{"shm", "/dev/shm", 01777, false},
};

static const struct {
	const char *path;
	uint32_t major, minor;
} nodes[] = {
	{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
	{"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

/* Parts of /proc that tell about the host or reach into it. */
static const char *const proc_hidden[] = {
	"acpi",          "asound",     "driver",      "interrupts",  "kallsyms",   "kcore",
	"key-users",     "keys",       "kmsg",        "kpagecgroup", "kpagecount", "kpageflags",
	"latency_stats", "modules",    "sched_debug", "scsi",        "schedstat",  "slabinfo",
	"sysrq-trigger", "timer_list", "timer_stats", "vmallocinfo",
};

static const char *const proc_read_only[] = {"bus", "fs", "irq", "mtrr", "sys"};

void plan_root_mkdir(struct builder *b, const char *path, uint32_t mode, uint32_t flags)
{
	struct plan_entry *e = builder_entry(b, PLAN_SKELETON, PLAN_MKDIR, path, NULL);

	e->mode = mode;
	e->flags = flags;
}

static void add_skeleton(struct builder *b, const struct plan_host *host, bool bare)
{
	char path[80];

	for (size_t i = 0; i < ARRAY_LEN(directories); i++)
		plan_root_mkdir(b, directories[i], 0755, 0);
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		builder_entry(b, PLAN_SKELETON, PLAN_SYMLINK, links[i].target, links[i].text);
	for (size_t i = 0; i < PLAN_TOPS; i++) {
		snprintf(path, sizeof(path), "/%s", plan_top_names[i]);
		if (!host->top[i].link)
			continue;
		builder_entry(b, PLAN_SKELETON, PLAN_SYMLINK, path, host->top[i].text);
		if (!bare || host->top[i].text[0] == '/')
			continue;
		/* what a file of the host would have behind it */
		snprintf(path, sizeof(path), "/%s", host->top[i].text);
		builder_entry(b, PLAN_SKELETON, PLAN_MKDIR, path, NULL);
	}
}

static void add_bind(struct builder *b, enum plan_group group, const char *path, uint32_t flags)
{
	builder_entry(b, group, PLAN_BIND, path, path)->flags =
		PLAN_READ_ONLY | PLAN_MAKE_TARGET | flags;
}

static void add_host(struct builder *b, const struct plan_host *host)
{
	char path[80];

	add_bind(b, PLAN_HOST, "/usr", 0);
	for (size_t i = 0; i < PLAN_TOPS; i++) {
		snprintf(path, sizeof(path), "/%s", plan_top_names[i]);
		if (host->top[i].exists && !host->top[i].link)
			add_bind(b, PLAN_HOST, path, 0);
	}
}

void plan_root_text(struct builder *b, const char *path, const char *text)
{
	struct plan_entry *e = builder_entry(b, PLAN_ETC, PLAN_WRITE, path, text);

	e->size = strlen(text);
	e->mode = 0644;
}

void plan_root_names(struct builder *b, const struct plan_host *host, const char *hostname)
{
	char text[512];

	plan_root_text(b, "/etc/resolv.conf", "");
	snprintf(text, sizeof(text), "127.0.0.1 localhost %s\n::1 localhost ip6-localhost %s\n",
		 hostname, hostname);
	plan_root_text(b, "/etc/hosts", text);
	snprintf(text, sizeof(text), "%s\n", hostname);
	plan_root_text(b, "/etc/hostname", text);
	snprintf(text, sizeof(text), "%s\n", host->machine_id);
	plan_root_text(b, "/etc/machine-id", text);
	/* what a program asks to learn that it is a clone: the number of forks, and an id that no
	 * other has */
	snprintf(text, sizeof(text), "%u %s\n", host->generation, host->machine_id);
	plan_root_text(b, "/run/cleave/generation", text);
}

static void add_etc(struct builder *b, const struct plan_host *host, const char *hostname,
		    bool bare)
{
	char path[80];

	plan_root_text(b, "/etc/passwd",
		       "root:x:0:0:root:/root:/bin/bash\n"
		       "user:x:1000:1000:user:/home/user:/bin/bash\n"
		       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
	plan_root_text(b, "/etc/group", "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n");
	plan_root_text(b, "/etc/nsswitch.conf",
		       "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
		       "services: files\nprotocols: files\n");
	plan_root_names(b, host, hostname);
	for (size_t i = 0; !bare && i < ARRAY_LEN(etc_binds); i++) {
		snprintf(path, sizeof(path), "/etc/%s", etc_binds[i]);
		add_bind(b, PLAN_ETC, path, PLAN_OPTIONAL);
	}
}

static void add_proc(struct builder *b)
{
	char path[80];

	for (size_t i = 0; i < ARRAY_LEN(proc_hidden); i++) {
		snprintf(path, sizeof(path), "/proc/%s", proc_hidden[i]);
		builder_entry(b, PLAN_PROC_HIDE, PLAN_COVER, path, NULL);
	}
	for (size_t i = 0; i < ARRAY_LEN(proc_read_only); i++) {
		snprintf(path, sizeof(path), "/proc/%s", proc_read_only[i]);
		builder_entry(b, PLAN_PROC_RO, PLAN_SELF_RO, path, NULL);
	}
}

void plan_root_disk(struct builder *b, const char *path, const char *name, uint32_t mode,
		    uint32_t flags)
{
	struct plan_entry *e = builder_entry(b, PLAN_DISK, PLAN_DISK_DIR, path, name);

	e->mode = mode;
	e->flags = flags;
}

void plan_root_kernel(struct builder *b)
{
	for (size_t i = 0; i < ARRAY_LEN(dev_links); i++)
		builder_entry(b, PLAN_SKELETON, PLAN_SYMLINK, dev_links[i].target,
			      dev_links[i].text);
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		builder_entry(b, PLAN_DEV, PLAN_NODE, nodes[i].path, nodes[i].path)->size =
			(uint64_t)nodes[i].major << 32 | nodes[i].minor;
	add_proc(b);
}

void plan_root(struct builder *b, const struct plan_host *host, const char *hostname, bool bare)
{
	add_skeleton(b, host, bare);
	if (!bare)
		add_host(b, host);
	add_etc(b, host, hostname, bare);
	for (size_t i = 0; i < ARRAY_LEN(disk_places); i++)
		plan_root_disk(b, disk_places[i].target, disk_places[i].name, disk_places[i].mode,
			       disk_places[i].owned ? PLAN_OWNED : 0);
	plan_root_kernel(b);
}
