/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of every kind, told byte by byte by a program that needs nothing else to go on:
 *
 *   memory FILE [moved]     "AHSFDb": anonymous page, heap, stack, file, file written to, break; '.' is zero
 *
 * With a second argument it runs from anonymous memory, so that it survives the loss of its own file.
 */
#define ANON 0x40000000
#define OUT 0x40001000
#define IN 0x40001100
#define FILE 0x50000000
#define CODE 0x60000000

	.text
	.globl _start
.macro call nr, a=$0, b=$0, c=$0
	mov $\nr, %eax
	mov \a, %rdi
	mov \b, %rsi
	mov \c, %rdx
	syscall
.endm
.macro map at, flags, fd
	mov \fd, %r8
	xor %r9d, %r9d
	mov $\flags, %r10d
	call 9, $\at, $8192, $3
.endm
.macro tell at, place
	mov \at, %al
	test %al, %al
	jnz 1f
	mov $'.', %al
1:	mov %al, OUT + \place
.endm

_start:
	mov (%rsp), %rbx
	mov 16(%rsp), %r14
	map ANON, 0x32, $-1
	movb $'A', ANON
	call 2, %r14, $0, $0
	map FILE, 0x12, %rax
	movb $'D', FILE + 4096
	call 3, $3
	call 12, $0
	mov %rax, %r12
	lea 4096(%r12), %r13
	call 12, %r13
	movb $'H', (%r12)
	lea -64(%rsp), %rsp
	movb $'S', (%rsp)
	cmp $3, %rbx
	jb loop
	map CODE, 0x32, $-1
	mov $CODE, %edi
	mov $loop, %esi
	mov $end - loop, %ecx
	rep movsb
	call 10, $CODE, $8192, $5
	mov $CODE, %eax
	jmp *%rax
loop:
	call 0, $0, $IN, $200
	test %rax, %rax
	jg answer
	call 60, $3
answer:
	tell ANON, 0
	tell (%r12), 1
	tell (%rsp), 2
	tell FILE, 3
	tell FILE + 4096, 4
	call 12, $0
	cmp %r13, %rax
	mov $'b', %al
	je 2f
	mov $'.', %al
2:	mov %al, OUT + 5
	movb $'\n', OUT + 6
	call 1, $1, $OUT, $7
	jmp loop
end:
	.section .note.GNU-stack, "", @progbits
