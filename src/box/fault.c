/* SPDX-License-Identifier: Apache-2.0 */
/* A failed row in words: which object, and what the user can do about it. */
#include <errno.h>
#include <stdio.h>

#include "box/box.h"

static const char *const verbs[] = {
	[PLAN_MKDIR] = "make directory",
	[PLAN_SYMLINK] = "make link",
	[PLAN_WRITE] = "write",
	[PLAN_BIND] = "bind",
	[PLAN_BIND_FD] = "bind",
	[PLAN_DISK_DIR] = "make writable",
	[PLAN_NODE] = "bind device",
	[PLAN_COVER] = "hide",
	[PLAN_SELF_RO] = "write-protect",
	[PLAN_TMPFS_AT] = "mount a tmpfs on",
	[PLAN_COPY_FD] = "copy to",
	[PLAN_ACCOUNT] = "add a line to",
	[PLAN_MOVE] = "mount",
	[PLAN_SHOW] = "mount",
	[PLAN_WRITTEN] = "mount",
	[PLAN_OWN_DIR] = "make directory",
};

/* A DIR of --root that can't be one. */
static int directory_fault(const struct plan *p, const struct plan_entry *x, int code,
			   struct err *e)
{
	const char *target = plan_text(p, x->target);

	if (x->group == PLAN_DIRECTORY) {
		if (code == -EINVAL)
			err_hint(e, "something is mounted below it, which an ordinary user can't "
				    "leave out: unmount that");
		return err_set(e, ERR_SOURCE, code, "--root: open '%s'", plan_text(p, x->source));
	}
	if (code == -ESTALE)
		return err_set(e, ERR_SOURCE, code,
			       "'%s' of the root was exchanged while the sandbox was made", target);
	if (code == -ELOOP || code == -ENOTDIR)
		return err_set(e, ERR_SOURCE, code, "the root has no directory of its own at '%s'",
			       target);
	err_set(e, ERR_SOURCE, code, "%s '%s' in the root", verbs[x->kind], target);
	if (code == -EACCES || code == -EROFS || code == -EOVERFLOW)
		err_hint(e, "make it there yourself, as the directory's owner");
	return code;
}

static int entry_fault(const struct plan *p, const struct step_fault *f, struct err *e)
{
	const struct plan_entry *x = &plan_entries(p)[f->object];
	const char *target = plan_text(p, x->target), *verb = verbs[x->kind];
	bool asked =
		x->group == PLAN_BINDS || x->group == PLAN_COPIES || x->group == PLAN_EXTRA_TMPFS;

	if (f->err == -ESTALE && x->kind == PLAN_BIND) {
		err_set(e, ERR_SOURCE, 0, "'%s' was exchanged while the sandbox was made",
			plan_text(p, x->source));
		return -ESTALE;
	}
	if (asked && f->err == -EXDEV) {
		err_set(e, ERR_TARGET, 0,
			"%s '%s': a link of the root leads it to what belongs to the sandbox "
			"itself",
			verb, target);
		return f->err;
	}
	if (x->group >= PLAN_DIRECTORY)
		return directory_fault(p, x, f->err, e);
	err_set(e, asked ? ERR_TARGET : ERR_LAYER, f->err, "%s '%s'", verb, target);
	if (asked && (f->err == -EROFS || f->err == -ENOENT))
		err_hint(e,
			 "the directory above the destination is read-only inside; choose a place "
			 "below /home/user, /tmp, /mnt, /opt or /srv");
	if (x->kind == PLAN_NODE && f->err == -EINVAL)
		err_hint(e, "the host's %s is not the device that it should be", target);
	return f->err;
}

static int exec_fault(const struct cmd *c, const struct step_fault *f, struct err *e)
{
	const char *name = plan_text(c, ((const uint32_t *)((const char *)c + c->argv))[0]);

	switch (-f->err) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return err_set(e, ERR_NOT_FOUND, f->err, "execute '%s'", name);
	case ENOEXEC:
		err_hint(e,
			 "it is neither a program for this processor nor a script with a #! line");
		return err_set(e, ERR_NOT_EXEC, f->err, "execute '%s'", name);
	case E2BIG:
		return err_set(e, ERR_SPEC, f->err, "execute '%s'", name);
	default:
		return err_set(e, ERR_NOT_EXEC, f->err, "execute '%s'", name);
	}
}

/* What helps when a row as a whole fails. */
static const struct {
	int step, err; /* err 0: any */
	const char *hint;
} hints[] = {
	{STEP_PROC, EPERM,
	 "this /proc is partly covered, as inside a container; unmask it (docker: --security-opt "
	 "systempaths=unconfined, podman: --security-opt unmask=ALL, bwrap: start it as an "
	 "ordinary "
	 "user)"},
	{STEP_HOSTNAME, EPERM,
	 "a filter around cleave forbids it, as those of containers do (docker, podman: "
	 "--security-opt seccomp=unconfined)"},
	{STEP_UPPER, EOPNOTSUPP,
	 "that needs Linux 6.6 or newer; older ones can have --root-rw, with a copy of the "
	 "directory"},
	{STEP_OVERLAY, ENODEV, "modprobe overlay, or --root-rw with a copy of the directory"},
	{STEP_OVERLAY, EPERM,
	 "this kernel lets no user namespace mount an overlay: --root-rw with a copy of the "
	 "directory"},
	{STEP_OVERLAY, EINVAL,
	 "it lies on a file system that nothing can be laid over, such as an overlay over an "
	 "overlay"},
	{STEP_PIVOT, EINVAL, "the root is an initramfs: switch_root to a tmpfs or disk first"},
	{STEP_NS_LIMITS, 0, "the kernel lacks the sysctls user.max_*_namespaces"},
	{STEP_SECCOMP, 0, "the kernel lacks CONFIG_SECCOMP_FILTER"},
	{STEP_WORKDIR, ENOENT, "give a directory that exists inside by --workdir"},
	{STEP_WORKDIR, EACCES, "the user inside may not enter it"},
	{STEP_CGROUP_JOIN, 0, "somebody removed or froze the cgroup"},
	{STEP_CGROUP_JOIN, EINVAL, "--cpus does not go with a real-time schedule of the caller"},
	{STEP_TAG, EPERM, "lift `ulimit -x` where the sandbox is started"},
	{STEP_OWN_CGROUP, 0, "somebody removed or froze the cgroup"},
	{STEP_NET_NS, ENOSPC, "sysctl -w user.max_net_namespaces=15000"},
};

int box_fault(const struct plan *plan, const struct cmd *cmd, const struct step_fault *f,
	      struct err *e)
{
	const char *name, *side, *why;
	uint64_t needs;
	bool command;

	if (f->step < 0 || !box_row((unsigned)f->step, &name, &side, &why, &needs, &command))
		return err_set(e, ERR_PROTOCOL, EPROTO,
			       "init reported a fault that does not exist");
	err_step(e, name);
	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (hints[i].step == f->step && (!hints[i].err || hints[i].err == -f->err))
			err_hint(e, "%s", hints[i].hint);
	if (cmd && f->step == STEP_EXEC)
		return exec_fault(cmd, f, e);
	if (cmd && f->step == STEP_WORKDIR)
		return err_set(e, ERR_SPEC, f->err, "enter the working directory '%s'",
			       plan_text(cmd, cmd->cwd));
	if (plan && f->step != STEP_NS_LIMITS && f->object >= 0 &&
	    (uint32_t)f->object < plan->n_entries)
		return entry_fault(plan, f, e);
	return err_set(e, ERR_LAUNCH, f->err, "%s", why);
}
