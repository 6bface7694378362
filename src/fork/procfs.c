/* SPDX-License-Identifier: Apache-2.0 */
/* Parsers for /proc. No policy: what may be carried is decided by the rows. */
#include "fork/procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

int proc_read(struct proc_text *t, pid_t pid, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return proc_read_path(t, path);
}

int proc_read_path(struct proc_text *t, const char *path)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	t->bytes = 0;
	for (;;) {
		if (t->room - t->bytes < 65536) {
			size_t room = t->room ? t->room * 2 : 1u << 18;
			char *p = room <= 1u << 30 ? realloc(t->p, room) : NULL;

			if (!p)
				return -ENOMEM;
			t->p = p;
			t->room = room;
		}
		n = read(fd, t->p + t->bytes, t->room - t->bytes - 1);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		t->bytes += (size_t)n;
	}
	t->p[t->bytes] = 0;
	return 0;
}

void proc_text_done(struct proc_text *t)
{
	free(t->p);
	*t = (struct proc_text){0};
}

/* The last number of a tab-separated list, and how many there are. */
static int32_t last_number(const char *s, int *ret_n)
{
	int32_t v = 0;
	char *end;

	*ret_n = 0;
	for (;;) {
		long x = strtol(s, &end, 10);

		if (end == s)
			return v;
		v = (int32_t)x;
		(*ret_n)++;
		s = end;
	}
}

static void four(const char *s, uint32_t v[4])
{
	char *end;

	for (int i = 0; i < 4; i++, s = end)
		v[i] = (uint32_t)strtoul(s, &end, 10);
}

static void status_field(const char *key, const char *v, struct proc_status *r)
{
	int n;

	if (!strcmp(key, "State"))
		r->state = *v;
	else if (!strcmp(key, "Umask"))
		r->umask = (uint32_t)strtoul(v, NULL, 8);
	else if (!strcmp(key, "TracerPid"))
		r->tracer = (int)strtol(v, NULL, 10);
	else if (!strcmp(key, "Tgid"))
		r->tgid = (int)strtol(v, NULL, 10);
	else if (!strcmp(key, "PPid"))
		r->ppid = (int)strtol(v, NULL, 10);
	else if (!strcmp(key, "Groups"))
		r->groups = last_number(v, &n) || n ? (uint32_t)n : 0;
	else if (!strcmp(key, "Uid"))
		four(v, r->uid);
	else if (!strcmp(key, "Gid"))
		four(v, r->gid);
	else if (!strcmp(key, "NStgid"))
		r->ns_tgid = last_number(v, &n);
	else if (!strcmp(key, "NSpid"))
		r->ns_pid = last_number(v, &r->ns_depth);
	else if (!strcmp(key, "NSpgid"))
		r->ns_pgid = last_number(v, &n);
	else if (!strcmp(key, "NSsid"))
		r->ns_sid = last_number(v, &n);
	else if (!strcmp(key, "SigPnd"))
		r->pending = strtoull(v, NULL, 16);
	else if (!strcmp(key, "ShdPnd"))
		r->shared_pending = strtoull(v, NULL, 16);
	else if (!strcmp(key, "SigIgn"))
		r->ignored = strtoull(v, NULL, 16);
	else if (!strcmp(key, "SigCgt"))
		r->caught = strtoull(v, NULL, 16);
	else if (!strncmp(key, "Cap", 3) && strcmp(key, "CapBnd"))
		r->cap_any |= strtoull(v, NULL, 16);
	else if (!strcmp(key, "NoNewPrivs"))
		r->no_new_privs = (int)strtol(v, NULL, 10);
	else if (!strcmp(key, "Seccomp"))
		r->seccomp = (int)strtol(v, NULL, 10);
	else if (!strcmp(key, "Seccomp_filters"))
		r->filters = (int)strtol(v, NULL, 10);
}

int proc_status_parse(char *text, struct proc_status *ret)
{
	*ret = (struct proc_status){.filters = -1};
	for (char *line = text; *line;) {
		char *end = strchr(line, '\n'), *colon;

		if (!end)
			break;
		*end = 0;
		colon = strchr(line, ':');
		if (colon) {
			*colon++ = 0;
			while (*colon == '\t' || *colon == ' ')
				colon++;
			/* The name is the workload's; the kernel escapes its newlines. */
			if (strcmp(line, "Name"))
				status_field(line, colon, ret);
		}
		line = end + 1;
	}
	return ret->ns_pid > 0 && ret->state ? 0 : -EPROTO;
}

int proc_stat_parse(const char *text, struct proc_stat *ret)
{
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	size_t n;

	*ret = (struct proc_stat){0};
	if (!open || !close || close < open || close[1] != ' ' || !close[2])
		return -EPROTO;
	n = (size_t)(close - open) - 1;
	if (n > sizeof(ret->comm) - 1)
		n = sizeof(ret->comm) - 1;
	memcpy(ret->comm, open + 1, n);
	ret->field[3] = (uint64_t)close[2];
	text = close + 3;
	for (int i = 4; i < 53; i++) {
		char *end;

		ret->field[i] = strtoull(text, &end, 10);
		if (end == text)
			return -EPROTO;
		text = end;
	}
	return 0;
}

/* The kernel writes newlines in paths as \012; nothing else is escaped. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (!strncmp(s, "\\012", 4)) {
			*to++ = '\n';
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = 0;
}

/* "start-end rwxp offset major:minor inode   path". Returns false for a line that is none. */
static bool map_line(char *s, struct proc_map *m)
{
	char *p;

	*m = (struct proc_map){0};
	m->start = strtoull(s, &p, 16);
	if (p == s || *p != '-')
		return false;
	m->end = strtoull(p + 1, &p, 16);
	if (*p != ' ' || strlen(p) < 6)
		return false;
	m->prot = (p[1] == 'r') | (p[2] == 'w') << 1 | (p[3] == 'x') << 2;
	if (p[4] == 's')
		m->flags |= PROC_MAP_SHARED;
	m->offset = strtoull(p + 5, &p, 16);
	m->major = (uint32_t)strtoul(p, &p, 16);
	if (*p++ != ':')
		return false;
	m->minor = (uint32_t)strtoul(p, &p, 16);
	m->ino = strtoull(p, &p, 10);
	while (*p == ' ')
		p++;
	m->path = p;
	return true;
}

static void vmflags_line(const char *s, struct proc_map *m)
{
	while (*s) {
		while (*s == ' ')
			s++;
		if (!s[0] || !s[1])
			return;
		if (m->n_vmflags == sizeof(m->vmflags) / sizeof(m->vmflags[0]))
			return;
		memcpy(m->vmflags[m->n_vmflags++], s, 2);
		if (s[0] == 'g' && s[1] == 'd')
			m->flags |= PROC_MAP_STACK;
		s += 2;
	}
}

static void map_path(struct proc_map *m)
{
	static const char deleted[] = " (deleted)";
	size_t n = strlen(m->path);

	if (n > sizeof(deleted) && !strcmp(m->path + n - sizeof(deleted) + 1, deleted))
		m->flags |= PROC_MAP_DELETED;
	unescape(m->path);
}

int proc_smaps_parse(char *text, struct proc_map **ret, size_t *ret_n)
{
	size_t n = 0, room = 256;
	struct proc_map *v = malloc(room * sizeof(*v)), *bigger;

	if (!v)
		return -ENOMEM;
	for (char *line = text, *end; *line && (end = strchr(line, '\n')); line = end + 1) {
		*end = 0;
		/* Keys start with a capital letter, addresses are lower case hex. */
		if (*line >= 'A' && *line <= 'Z') {
			if (n && !strncmp(line, "VmFlags:", 8))
				vmflags_line(line + 8, &v[n - 1]);
			else if (n && !strncmp(line, "ProtectionKey:", 14))
				v[n - 1].key = (uint32_t)strtoul(line + 14, NULL, 10);
			continue;
		}
		if (n == room) {
			room *= 2;
			bigger = room <= 1u << 20 ? realloc(v, room * sizeof(*v)) : NULL;
			if (!bigger) {
				free(v);
				return -ENOMEM;
			}
			v = bigger;
		}
		if (!map_line(line, &v[n])) {
			free(v);
			return -EPROTO;
		}
		map_path(&v[n++]);
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

int proc_each(pid_t pid, const char *name, int (*f)(void *arg, int number), void *arg)
{
	char path[64];
	struct dirent *d;
	DIR *dir;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0) {
		errno = 0;
		d = readdir(dir);
		if (!d) {
			r = errno == ENOENT ? 0 : -errno; /* it has ended meanwhile */
			break;
		}
		if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
			r = f(arg, (int)strtol(d->d_name, NULL, 10));
	}
	closedir(dir);
	return r;
}
