/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parasite: runs in a held thread of the source, asks the kernel what only the thread itself
 * can ask, stops at a breakpoint. Changes nothing. Freestanding, position independent, the entry is
 * its first byte. It runs under the workload's seccomp filter: each call must be one that every
 * profile allows.
 */
#include "fork/blob/parasite.h"

#include "raw/arch_task.h"
#include "raw/syscall.h"

#define SEM_INFO_ 19
#define MSG_INFO_ 12
#define SHM_INFO_ 14
#define MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED_ (1 << 2)
#define MEMBARRIER_CMD_GET_REGISTRATIONS_ (1 << 9) /* 6.3 */
#define PR_GET_PDEATHSIG_ 2
#define PR_GET_DUMPABLE_ 3
#define PR_GET_TIMERSLACK_ 30
#define PR_GET_CHILD_SUBREAPER_ 37
#define PR_GET_TID_ADDRESS_ 40
#define PR_GET_THP_DISABLE_ 42

static void note(struct parasite_page *p, long r)
{
	if (r < 0 && !p->thread.error)
		p->thread.error = r;
}

/* The commands that registered the process. The private ones by using them: EPERM where it is not
 * registered, else a barrier more (the kernel's own answer names one that was not asked for). The
 * global one tells since 6.3. */
static uint64_t membarriers(void)
{
	long r = SYS3(SYS_membarrier, MEMBARRIER_CMD_GET_REGISTRATIONS_, 0, 0);
	uint64_t all = r > 0 ? (uint64_t)r & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED_ : 0;

	for (uint64_t use = 1 << 3; use <= 1 << 7; use <<= 2)
		if (SYS3(SYS_membarrier, use, 0, 0) == 0)
			all |= use << 1;
	return all;
}

/* Objects of System V, which belong to nobody: what fails here can't be made here either. */
static void ask_ipc(struct parasite_process *q)
{
	int info[32] = {0}; /* more than struct seminfo, msginfo and shm_info */

	if (SYS4(SYS_semctl, 0, 0, SEM_INFO_, info) >= 0)
		q->semaphores = (uint64_t)(uint32_t)info[7]; /* semusz: sets in use */
	if (SYS3(SYS_msgctl, 0, MSG_INFO_, info) >= 0)
		q->queues = (uint64_t)(uint32_t)info[0]; /* msgpool: queues in use */
	if (SYS3(SYS_shmctl, 0, SHM_INFO_, info) >= 0)
		q->segments = (uint64_t)(uint32_t)info[0]; /* used_ids */
}

static void ask_process(struct parasite_page *p)
{
	struct parasite_process *q = &p->process;
	int value = 0;
	long r;

	q->brk = (uint64_t)SYS1(SYS_brk, 0);
	for (int i = 0; i < 3; i++)
		note(p, SYS2(SYS_getitimer, i, q->itimer[i]));
	for (int i = 1; i < PARASITE_ACTIONS; i++)
		note(p, SYS4(SYS_rt_sigaction, i, 0, &q->action[i], 8));
	note(p, raw_prctl(PR_GET_PDEATHSIG_, (unsigned long)&value, 0, 0, 0));
	q->pdeathsig = (uint64_t)value;
	value = 0;
	note(p, raw_prctl(PR_GET_CHILD_SUBREAPER_, (unsigned long)&value, 0, 0, 0));
	q->subreaper = (uint64_t)value;
	r = raw_prctl(PR_GET_THP_DISABLE_, 0, 0, 0, 0);
	note(p, r);
	q->no_thp = (uint64_t)r;
	r = raw_prctl(PR_GET_DUMPABLE_, 0, 0, 0, 0);
	note(p, r);
	q->dumpable = (uint64_t)r;
	q->tiles = arch_tiles_permitted();
	q->membarrier = membarriers();
	ask_ipc(q);
}

__attribute__((section(".text.entry"), used, visibility("default"))) void parasite_entry(
	struct parasite_page *p);
void parasite_entry(struct parasite_page *p)
{
	struct {
		uint64_t sp;
		int32_t flags, pad;
		uint64_t bytes;
	} stack = {0};
	long r;

	/* The kernel answers for the stack pointer that it sees: we don't stand on the alternate
	 * stack now, the thread may. The tracer sorts that out. */
	note(p, SYS2(SYS_sigaltstack, 0, &stack));
	p->thread.altstack = stack.sp;
	p->thread.altstack_flags = (uint64_t)(uint32_t)stack.flags;
	p->thread.altstack_bytes = stack.bytes;
	note(p, raw_prctl(PR_GET_TID_ADDRESS_, (unsigned long)&p->thread.tid_address, 0, 0, 0));
	r = raw_prctl(PR_GET_TIMERSLACK_, 0, 0, 0, 0);
	p->thread.timer_slack_ns = (uint64_t)r;
	if (p->leader)
		ask_process(p);
	/* The tracer knows its end by these three bytes. */
	__asm__ volatile("int3; 1: jmp 1b");
	__builtin_unreachable();
}
