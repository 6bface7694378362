/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a sandbox: ids, layers, limits, mounts. Pure. */
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kern/profile.h"
#include "kern/seccomp.h"
#include "plan/limits.h"
#include "plan/make.h"
#include "plan/root.h"

#define WORKLOAD_ID 1000
#define INIT_ID 65533

/*
 * What a package manager needs to unpack files of many owners and to run programs as them, and no
 * more. FSETID: a set-id bit survives the chown that comes after it.
 */
#define CAP(n) (UINT64_C(1) << CAP_##n)
#define ROOT_CAPS \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(SETGID) | CAP(SETUID))
#define ROOT_CAPS_TEXT "CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID"

uint64_t plan_caps(bool ids_range, enum spec_user user)
{
	return ids_range && user == SPEC_USER_ROOT ? ROOT_CAPS : 0;
}

static void plan_ids(struct plan *p, const struct plan_host *host, const struct spec *spec)
{
	bool as_root = spec->command.user == SPEC_USER_ROOT;

	p->uid = p->gid = as_root ? 0 : WORKLOAD_ID;
	p->caps = plan_caps(spec->ids_range, spec->command.user);
	p->init_uid = p->init_gid = INIT_ID;
	if (host->root) {
		p->facts |= PLAN_ROOT | PLAN_OWN_MAPS | PLAN_INIT_APART;
		p->uid_map = p->gid_map = (struct plan_idmap){0, 0, PLAN_IDS}; /* base: the slot */
		return;
	}
	if (spec->ids_range) {
		p->facts |= PLAN_SUBIDS | PLAN_INIT_APART;
		p->sub_uid = host->sub_uid;
		p->sub_gid = host->sub_gid;
	} else {
		p->facts |= PLAN_USER | PLAN_OWN_MAPS;
		p->init_uid = p->uid;
		p->init_gid = p->gid;
	}
	/* the caller is the workload: what is shown of the caller's files is the workload's */
	p->uid_map = (struct plan_idmap){p->uid, host->uid, 1};
	p->gid_map = (struct plan_idmap){p->gid, host->gid, 1};
}

/* Layers that every launch has: without one of them there is no launch. */
static int plan_layers(struct plan *p, const struct spec *s, const struct plan_host *h,
		       struct result *r, struct err *e)
{
	static const enum layer_id always[] = {
		LAYER_USER_NS, LAYER_PID_NS,    LAYER_MOUNT_NS,     LAYER_UTS_NS,
		LAYER_IPC_NS,  LAYER_NET_NS,    LAYER_CGROUP_NS,    LAYER_ROOT,
		LAYER_PROC,    LAYER_DEV,       LAYER_CAPABILITIES, LAYER_NO_NEW_PRIVS,
		LAYER_SECCOMP, LAYER_NS_LIMITS, LAYER_RLIMITS,      LAYER_DISK,
	};

	for (size_t i = 0; i < ARRAY_LEN(always); i++)
		plan_layer(r, always[i], LAYER_ON, "", NULL);
	plan_layer(r, LAYER_IDS, LAYER_ON,
		   h->root        ? "a slot of 65536 ids"
		   : s->ids_range ? "a range of 65536 ids by newuidmap"
				  : "one id, the caller's",
		   NULL);
	if (p->caps)
		plan_layer(r, LAYER_CAPABILITIES, LAYER_DEGRADED,
			   "--ids range --user root: root has " ROOT_CAPS_TEXT, NULL);
	plan_layer(r, LAYER_DISK, LAYER_ON, "one tmpfs", NULL);
	if (h->no_cgroup_ns)
		plan_layer(r, LAYER_CGROUP_NS, LAYER_OFF,
			   "the sandbox around this one allows none: both see the same of cgroups",
			   "start the outer one as root");
	else
		p->facts |= PLAN_CGROUP_NS;
	plan_layer(r, LAYER_ASLR, s->command.no_aslr ? LAYER_OFF : LAYER_ON,
		   s->command.no_aslr ? "--no-aslr" : "", NULL);
	plan_layer(r, LAYER_FREEZER, LAYER_OFF, "not needed by one command", NULL);
	if (h->landlock_abi < 2) {
		plan_layer(r, LAYER_LANDLOCK, LAYER_OFF,
			   "this kernel has no Landlock, or only ABI 1",
			   "boot a kernel >= 5.19 with landlock in its lsm= list");
		(void)e;
		return 0;
	}
	snprintf(r->layers[LAYER_LANDLOCK].how, sizeof(r->layers[LAYER_LANDLOCK].how), "ABI %u",
		 h->landlock_abi);
	r->layers[LAYER_LANDLOCK].state = LAYER_ON;
	p->facts |= PLAN_LANDLOCK;
	p->landlock_abi = h->landlock_abi;
	return 0;
}

/* --nest takes from some layers what a sandbox within the sandbox needs. */
static int plan_nest(struct plan *p, const struct plan_host *h, struct result *r, struct err *e)
{
	if (!h->root && h->uid == 0) {
		err_hint(e, "run cleave as root with a range of ids, or as an ordinary user");
		return err_set(e, ERR_LAYER, 0,
			       "--nest: the covers over /proc are what keeps root's id out of the "
			       "host's settings here, and nesting needs a /proc without them");
	}
	p->facts |= PLAN_NEST;
	plan_layer(r, LAYER_SECCOMP, LAYER_DEGRADED,
		   "--nest: namespaces and mounts are let through", NULL);
	plan_layer(r, LAYER_NS_LIMITS, LAYER_DEGRADED,
		   h->root ? "--nest: 256 further namespaces of each kind"
			   : "--nest: 256 further namespaces of each kind, none of cgroups",
		   NULL);
	plan_layer(r, LAYER_PROC, LAYER_DEGRADED,
		   "--nest: a second one, at /run/cleave/proc, has nothing masked", NULL);
	if (!(p->facts & PLAN_LANDLOCK))
		return 0;
	if (p->landlock_abi < 6) {
		p->facts &= ~(uint64_t)PLAN_LANDLOCK;
		plan_layer(r, LAYER_LANDLOCK, LAYER_OFF, "--nest: it forbids all mounts", NULL);
	} else {
		plan_layer(r, LAYER_LANDLOCK, LAYER_DEGRADED,
			   "--nest: signals and abstract sockets, not files", NULL);
	}
	return 0;
}

static void plan_mounts(struct builder *b, struct plan *p, const struct spec *s,
			const struct plan_host *h)
{
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct spec_mount *m = &s->mounts[i];
		struct plan_entry *e;

		switch (m->kind) {
		case SPEC_TMPFS:
			e = builder_entry(b, PLAN_EXTRA_TMPFS, PLAN_TMPFS_AT, m->target, NULL);
			e->size = m->size == SPEC_UNSET ? p->disk_bytes : m->size;
			e->flags = PLAN_OWNED;
			p->facts |= PLAN_TMPFS;
			break;
		case SPEC_FILE:
			e = builder_entry(b, PLAN_COPIES, PLAN_COPY_FD, m->target, m->source);
			e->mode = m->mode;
			e->flags = PLAN_OWNED;
			p->facts |= PLAN_FILES | PLAN_SOURCES;
			break;
		case SPEC_LINK:
			builder_entry(b, PLAN_BINDS, PLAN_SYMLINK, m->target, m->source);
			p->facts |= PLAN_SOURCES;
			break;
		default:
			e = builder_entry(b, PLAN_BINDS, h->root ? PLAN_BIND_FD : PLAN_BIND,
					  m->target, m->source);
			e->flags = PLAN_MAKE_TARGET | (m->kind == SPEC_RW ? 0 : PLAN_READ_ONLY) |
				   (m->kind == SPEC_PROGRAM ? PLAN_PROGRAM : 0);
			p->facts |= PLAN_SOURCES;
			break;
		}
	}
}

static int plan_finish(struct builder *b, const struct plan *head, struct plan_bytes *ret,
		       struct err *e)
{
	uint32_t at = builder_put(b, b->entries, b->n_entries * sizeof(*b->entries));
	struct plan *p;

	if (b->failed)
		return err_set(e, ERR_INTERNAL, ENOMEM, "make a plan");
	p = (struct plan *)b->bytes;
	*p = *head;
	p->n_entries = (uint32_t)b->n_entries;
	p->entries = at;
	p->total_bytes = (uint32_t)b->size;
	ret->plan = p;
	ret->size = b->size;
	b->bytes = NULL;
	return 0;
}

static void test_rows(char *fail, char *stop, int32_t *code, const struct plan_host *h)
{
	snprintf(fail, 32, "%s", h->test_fail ? h->test_fail : "");
	snprintf(stop, 32, "%s", h->test_stop ? h->test_stop : "");
	*code = h->test_errno;
}

#ifdef CLEAVE_DEV
/* The plan without the walls that CLEAVE_TEST_WITHOUT names: entries of /proc, limits. */
static void take_walls_down(struct builder *b, struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_entries; i++) {
		const char *target = (const char *)b->bytes + b->entries[i].target;

		if (!raw_without(p->test_without, "mask", target))
			b->entries[n++] = b->entries[i];
	}
	b->n_entries = n;
	if (raw_without(p->test_without, "limit", "disk"))
		p->disk_bytes = p->disk_bytes << 4;
	if (raw_without(p->test_without, "limit", "inodes"))
		p->disk_inodes = p->disk_inodes << 4;
}
#endif

/* The filter, at the place that head tells from now on. */
static void put_filter(struct builder *b, struct plan *head, struct seccomp_program filter)
{
	size_t before = 0;

#ifdef CLEAVE_DEV
	struct sock_filter open[64];

	before = seccomp_without(head->test_without, open, ARRAY_LEN(open));
	head->filter = builder_put(b, open, before * sizeof(*open));
#else
	head->filter = builder_room(b, 0);
#endif
	builder_put(b, filter.insns, filter.len * sizeof(*filter.insns));
	head->filter_len = (uint32_t)before + filter.len;
}

/* A profile of the user's, which comes on top of the filter and can only take away. */
static int put_profile(struct builder *b, struct plan *head, const struct spec *s, struct result *r,
		       struct err *e)
{
	struct result_layer *layer = &r->layers[LAYER_SECCOMP];
	size_t said = strlen(layer->how);
	struct profile profile;
	const char *name;
	char shown[28]; /* with all that is said besides it fits */
	int rc;

	if (!s->seccomp && !s->seccomp_program)
		return 0;
	rc = s->seccomp_program ? profile_from_text(s->seccomp_program, &profile) : -EINVAL;
	if (rc < 0)
		return err_set(e, ERR_SPEC, -rc, "--seccomp: the compiled profile");
	head->profile = builder_put(b, profile.insns, profile.len * sizeof(*profile.insns));
	head->profile_len = (uint32_t)profile.len;
	profile_done(&profile);
	name = s->seccomp ? strrchr(s->seccomp, '/') : NULL;
	name = name ? name + 1 : "of --seccomp";
	text_escape(name, strlen(name), shown, sizeof(shown));
	snprintf(layer->how + said, sizeof(layer->how) - said, "%sthe profile %s on top",
		 said ? "; " : "", shown);
	return 0;
}

/* Whoever has SETUID can take the id of init, wherever that is. */
static struct seccomp_program filter_of(const struct plan *p, const struct spec *s)
{
	bool shared = !(p->facts & PLAN_INIT_APART) || p->caps;

	return seccomp_default((shared ? SECCOMP_SHARED_ID : 0) |
			       (s->allow_ptrace ? SECCOMP_ALLOW_PTRACE : 0) |
			       (s->nest ? SECCOMP_NEST : 0));
}

int plan_make(const struct spec *spec, const struct plan_host *host, struct plan_bytes *ret,
	      struct result *report, struct err *e)
{
	struct plan head = {.magic = PLAN_MAGIC, .sock_fd = -1};
	struct builder b = {0};
	struct seccomp_program filter;
	const char *hostname = spec->hostname ? spec->hostname
			       : spec->name   ? spec->name
					      : "sandbox";
	int r;

	builder_room(&b, sizeof(struct plan));
#ifdef CLEAVE_DEV
	snprintf(head.test_without, sizeof(head.test_without), "%s",
		 host->test_without ? host->test_without : "");
#endif
	plan_ids(&head, host, spec);
	filter = filter_of(&head, spec);
	r = plan_layers(&head, spec, host, report, e);
	if (r == 0 && spec->nest)
		r = plan_nest(&head, host, report, e);
	head.facts |= spec->outs.n ? PLAN_LINGER : 0;
	if (r == 0)
		r = plan_sandbox_limits(&head, spec, host, report, e);
	head.hostname = builder_text(&b, hostname);
	put_filter(&b, &head, filter);
	if (r == 0)
		r = put_profile(&b, &head, spec, report, e);
	if (spec_root_is_dir(spec)) {
		plan_root_dir(&b, &head, spec, host, hostname);
		plan_layer(report, LAYER_ROOT, LAYER_ON,
			   spec->root_rw ? "a directory itself" : "an overlay over a directory",
			   NULL);
	} else {
		head.facts |= PLAN_SKELETON_IS_ROOT;
		plan_root(&b, host, hostname, spec->root != NULL);
	}
	plan_mounts(&b, &head, spec, host);
	test_rows(head.test_fail, head.test_stop, &head.test_errno, host);
#ifdef CLEAVE_DEV
	take_walls_down(&b, &head);
#endif
	if (r == 0)
		r = plan_finish(&b, &head, ret, e);
	builder_done(&b);
	return r;
}

void plan_free(struct plan_bytes *p)
{
	free(p->plan);
	*p = (struct plan_bytes){0};
}
