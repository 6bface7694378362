/* SPDX-License-Identifier: Apache-2.0 */
/* x86-64: system call restart, signal frames. See hosted.h for the contract. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "fork/arch/hosted.h"

#define SW_RESERVED 464u /* of the legacy area: what the kernel writes about the rest */
#define XFEATURES 512u   /* XSTATE_BV */
#define XFEATURE_TILE_DATA (1ull << 18)
#define MAGIC1 0x46505853u
#define MAGIC2 0x46505845u

#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

/* volatile: raise() is declared as a leaf, the compiler thinks no handler of ours can run in it. */
static volatile uint64_t probed_features;
static volatile uint32_t probed_bytes;

static void probe(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;
	const uint8_t *fp = (const uint8_t *)u->uc_mcontext.fpregs;

	(void)sig;
	(void)info;
	probed_features = *(const uint64_t *)(fp + SW_RESERVED + 8);
	probed_bytes = *(const uint32_t *)(fp + SW_RESERVED + 16);
}

int arch_xstate_probe(uint64_t *ret_features, uint32_t *ret_bytes)
{
	struct sigaction sa = {.sa_sigaction = probe, .sa_flags = SA_SIGINFO}, old;
	sigset_t unblock, mask;

	if (!probed_bytes) {
		sigemptyset(&unblock);
		sigaddset(&unblock, SIGUSR2);
		if (sigaction(SIGUSR2, &sa, &old))
			return -errno;
		sigprocmask(SIG_UNBLOCK, &unblock, &mask);
		raise(SIGUSR2);
		sigprocmask(SIG_SETMASK, &mask, NULL);
		sigaction(SIGUSR2, &old, NULL);
	}
	if (probed_bytes < 576)
		return -ENOTSUP; /* no XSAVE: a processor from before 2008 */
	*ret_features = probed_features;
	*ret_bytes = probed_bytes;
	return 0;
}

bool arch_xstate_is_plain(const void *xstate, uint64_t bytes)
{
	uint64_t features;

	if (bytes < 576)
		return false;
	memcpy(&features, (const uint8_t *)xstate + XFEATURES, 8);
	return !(features & XFEATURE_TILE_DATA);
}

/* Calls that fail with EINTR for any interruption, even one without a signal (signal(7)). */
static bool never_restarted(uint64_t nr)
{
	switch (nr) {
	case SYS_read:
	case SYS_readv:
	case SYS_accept:
	case SYS_accept4:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case 441: /* epoll_pwait2 */
		return true;
	default:
		return false;
	}
}

void arch_regs_rewind(struct user_regs_struct *r)
{
	r->rax = r->orig_rax;
	r->rip -= 2;
	r->orig_rax = (uint64_t)-1;
}

void arch_regs_settle(const struct user_regs_struct *at, struct image_regs *ret, bool *ret_source)
{
	struct user_regs_struct r = *at;
	int64_t nr = (int64_t)r.orig_rax, error = -(int64_t)r.rax;

	*ret_source = false;
	if (nr >= 0) {
		if (error == ERESTARTSYS || error == ERESTARTNOINTR || error == ERESTARTNOHAND) {
			arch_regs_rewind(&r);
		} else if (error == ERESTART_RESTARTBLOCK) {
			if (nr == SYS_nanosleep || nr == SYS_clock_nanosleep)
				r.rax = (uint64_t)-EINTR;
			else
				arch_regs_rewind(&r);
		} else if (error == EINTR && never_restarted((uint64_t)nr)) {
			arch_regs_rewind(&r);
			*ret_source = true;
		}
	}
	r.orig_rax = (uint64_t)-1;
	_Static_assert(sizeof(*ret) == sizeof(r), "the image's registers are the kernel's");
	memcpy(ret, &r, sizeof(*ret));
}

struct frame {
	uint64_t flags, link, stack, stack_flags, stack_bytes;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trap, oldmask, cr2, fpstate, reserved[8];
	uint64_t sigmask;
};

static uint64_t xstate_room(const struct image_host *host)
{
	return ((uint64_t)host->xstate_bytes + 4 + 63) & ~63ull;
}

uint64_t arch_frame_bytes(const struct image_host *host)
{
	return (xstate_room(host) + sizeof(struct frame) + 63) & ~63ull;
}

static void xstate_write(uint8_t *fp, const struct image_host *host, const void *xstate,
			 uint64_t bytes)
{
	uint32_t word;
	uint64_t features;

	memcpy(fp, xstate, bytes < host->xstate_bytes ? bytes : host->xstate_bytes);
	memset(fp + SW_RESERVED, 0, 48);
	/* lint-allow: analyzer-use-of-uninitialized-value: image_decode: 576 bytes */
	word = MAGIC1;
	memcpy(fp + SW_RESERVED, &word, 4);
	word = host->xstate_bytes + 4;
	memcpy(fp + SW_RESERVED + 4, &word, 4);
	memcpy(fp + SW_RESERVED + 8, &host->xstate_features, 8);
	memcpy(fp + SW_RESERVED + 16, &host->xstate_bytes, 4);
	word = MAGIC2;
	memcpy(fp + host->xstate_bytes, &word, 4);
	/* No feature beyond those of a frame, no compaction, no reserved bit: the kernel would
	 * refuse the frame. MXCSR is masked likewise. */
	memcpy(&features, fp + XFEATURES, 8);
	features &= host->xstate_features;
	memcpy(fp + XFEATURES, &features, 8);
	memset(fp + XFEATURES + 8, 0, 56);
	memcpy(&word, fp + 24, 4);
	word &= 0xffff;
	memcpy(fp + 24, &word, 4);
}

uint64_t arch_frame_write(void *buf, uint64_t address, const struct image_host *host,
			  const struct image_thread *t, const void *xstate)
{
	const struct image_regs *r = &t->regs;
	struct frame f = {
		.flags = 7, /* XSTATE, SIGCONTEXT_SS, STRICT_RESTORE_SS */
		.stack = t->altstack,
		.stack_flags = t->altstack_flags,
		.stack_bytes = t->altstack_bytes,
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.di = r->rdi,
		.si = r->rsi,
		.bp = r->rbp,
		.bx = r->rbx,
		.dx = r->rdx,
		.ax = r->rax,
		.cx = r->rcx,
		.sp = r->rsp,
		.ip = r->rip,
		.eflags = r->eflags,
		.cs = 0x33,
		.ss = 0x2b,
		.fpstate = address,
		.sigmask = t->sigmask,
	};

	_Static_assert(sizeof(struct frame) == 40 + 256 + 8, "the kernel's ucontext");
	xstate_write(buf, host, xstate, t->xstate.bytes);
	memcpy((uint8_t *)buf + xstate_room(host), &f, sizeof(f));
	return address + xstate_room(host);
}

long arch_syscall_find(const uint8_t *code, uint64_t bytes)
{
	for (uint64_t i = 0; i + 1 < bytes; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return (long)i;
	return -1;
}

bool arch_regs_are_native(const struct user_regs_struct *regs)
{
	return regs->cs == 0x33;
}
