/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every register that a thread keeps over a system call, told byte by byte; '.' is zero or another
 * value than was set. VECTOR: 128, 256 or 512, as wide as the processor has them.
 *
 *   "bp234589A" general, "Xc" xmm and the x87 control word, "m" MXCSR, "FG" bases, "y", "zZk" when there
 *
 * It reads again whatever its read answered: with zero in the registers that is at once.
 */
	.text
	.globl _start
.macro put register, place
	mov \register, %rax
	call tell
	mov %al, out + \place(%rip)
.endm
.macro same yes, letter, place
	mov $\letter, %al
	\yes 1f
	mov $'.', %al
1:	mov %al, out + \place(%rip)
.endm

tell:	test %al, %al
	jnz 1f
	mov $'.', %al
1:	ret

_start:
	mov $158, %eax
	mov $0x1002, %edi
	lea base(%rip), %rsi
	syscall
	mov $158, %eax
	mov $0x1001, %edi
	lea base(%rip), %rsi
	syscall
	fldcw control(%rip)
	ldmxcsr status(%rip)
#if VECTOR == 512
	vmovdqu64 wide(%rip), %zmm0
	vmovdqu64 wide(%rip), %zmm31
	mov $'k', %eax
	kmovw %eax, %k1
#elif VECTOR == 256
	vmovdqu wide(%rip), %ymm0
#else
	movdqu wide(%rip), %xmm0
#endif
	mov $'b', %ebx
	mov $'p', %ebp
	mov $'2', %r12d
	mov $'3', %r13d
	mov $'4', %r14d
	mov $'5', %r15d
	mov $'8', %r8d
	mov $'9', %r9d
	mov $'A', %r10d
loop:
	xor %eax, %eax
	xor %edi, %edi
	lea in(%rip), %rsi
	mov $200, %edx
	syscall
	put %rbx, 0
	put %rbp, 1
	put %r12, 2
	put %r13, 3
	put %r14, 4
	put %r15, 5
	put %r8, 6
	put %r9, 7
	put %r10, 8
#if VECTOR == 512
	vmovdqu64 %zmm0, room(%rip)
	put room + 32(%rip), 15
	vmovdqu64 %zmm31, room(%rip)
	put room(%rip), 16
	kmovw %k1, %eax
	call tell
	mov %al, out + 17(%rip)
	vmovdqu64 %zmm0, room(%rip)
	put room + 16(%rip), 14
#elif VECTOR == 256
	vmovdqu %ymm0, room(%rip)
	put room + 16(%rip), 14
#endif
	movdqu %xmm0, room(%rip)
	put room(%rip), 9
	fnstcw room(%rip)
	mov room(%rip), %ax
	cmp control(%rip), %ax
	same je, 'c', 10
	stmxcsr room(%rip)
	mov room(%rip), %eax
	cmp status(%rip), %eax
	same je, 'm', 11
	mov $158, %eax
	mov $0x1003, %edi
	lea room(%rip), %rsi
	syscall
	lea base(%rip), %rax
	cmp room(%rip), %rax
	same je, 'F', 12
	mov $158, %eax
	mov $0x1004, %edi
	lea room(%rip), %rsi
	syscall
	lea base(%rip), %rax
	cmp room(%rip), %rax
	same je, 'G', 13
	mov $1, %eax
	mov $1, %edi
	lea out(%rip), %rsi
	mov $LENGTH, %edx
	syscall
	jmp loop

	.data
control: .word 0x027f
status:	.long 0x9f80
	.balign 64
wide:	.quad 'X', 0, 'y', 0, 'z', 0, 0, 0
out:	.fill LENGTH - 1, 1, ' '
	.byte '\n'
	.balign 64
base:	.fill 64, 1, 0
room:	.fill 64, 1, 0
in:	.fill 256, 1, 0
	.section .note.GNU-stack, "", @progbits
