/* From the processor's reset to Run() in 64-bit mode, with AVX-512 enabled; and from the program's
 * system calls to Serve(). No interrupt or exception is handled: a fault stops the emulator. */

/* Model-specific registers */
#define EFER 0xc0000080
#define STAR 0xc0000081
#define LSTAR 0xc0000082
#define SFMASK 0xc0000084

/* Segments, as offsets in gdt */
#define CODE32 0x08
#define CODE64 0x10
#define DATA 0x18

#define PRESENT_WRITABLE 0x3
#define WHOLE_2_MIB 0x80 /* an entry of the directory that is a page itself */
#define MEMORY_MIB 512 /* as in run.py */

  .section .reset, "ax" /* the last 16 bytes, where the processor begins */
  .code16
  ljmp $0xf000, $(start - 0xf0000)
  .balign 16, 0x90

  .text
start:
  cli
  lgdtl %cs:(gdt_pointer - 0xf0000)
  lidtl %cs:(gdt - 0xf0000) /* zeros: no handlers */
  mov $1, %eax /* protected mode */
  mov %eax, %cr0
  ljmpl $CODE32, $protected

  .code32
protected:
  mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  xor %eax, %eax
  mov $__bss_start, %edi
  mov $__bss_end, %ecx
  sub %edi, %ecx
  cld
  rep stosb

  /* Addresses are physical ones, of memory that there is; only page 0 is missing. */
  movl $(directory_map + PRESENT_WRITABLE), page_map
  movl $(directory + PRESENT_WRITABLE), directory_map
  mov $directory, %edi
  mov $(WHOLE_2_MIB + PRESENT_WRITABLE), %eax
  mov $(MEMORY_MIB / 2), %ecx
1:
  mov %eax, (%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 1b
  movl $(table + PRESENT_WRITABLE), directory
  mov $(table + 8), %edi
  mov $(0x1000 + PRESENT_WRITABLE), %eax
  mov $511, %ecx
2:
  mov %eax, (%edi)
  add $0x1000, %eax
  add $8, %edi
  loop 2b
  mov $page_map, %eax
  mov %eax, %cr3
  mov $(1 << 5 | 1 << 9 | 1 << 10 | 1 << 18), %eax /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
  mov %eax, %cr4
  mov $EFER, %ecx
  mov $(1 << 8 | 1 << 0), %eax /* LME, SCE */
  xor %edx, %edx
  wrmsr
  mov $(1 << 31 | 1 << 16 | 1 << 5 | 1 << 1 | 1 << 0), %eax /* PG, WP, NE, MP, PE */
  mov %eax, %cr0
  ljmpl $CODE64, $long_mode

  .code64
long_mode:
  xor %ecx, %ecx
  xor %edx, %edx
  mov $(1 << 7 | 1 << 6 | 1 << 5 | 1 << 2 | 1 << 1 | 1 << 0), %eax /* x87, SSE, AVX, AVX-512 */
  xsetbv
  fninit
  mov $STAR, %ecx
  mov $CODE64, %edx
  xor %eax, %eax
  wrmsr
  mov $LSTAR, %ecx
  xor %edx, %edx
  mov $system_call, %eax
  wrmsr
  mov $SFMASK, %ecx
  mov $(1 << 10), %eax /* the direction flag */
  wrmsr
  mov $stack_end, %esp
  call Run

/* The program, like everything, runs in ring 0: `sysret` would leave it. Only rax, rcx and r11
 * change; Serve() uses no vector registers. */
system_call:
  mov %rsp, program_stack
  mov $stack_end, %esp
  push %rcx
  push %r11
  push %rdi
  push %rsi
  push %rdx
  push %r8
  push %r9
  push %r10
  mov %rdx, %rcx
  mov %rsi, %rdx
  mov %rdi, %rsi
  mov %rax, %rdi
  call Serve
  pop %r10
  pop %r9
  pop %r8
  pop %rdx
  pop %rsi
  pop %rdi
  popfq
  pop %rcx
  mov program_stack, %rsp
  jmp *%rcx

/* void Enter(entry, stack) */
  .globl Enter
Enter:
  mov %rsi, %rsp
  xor %edx, %edx /* nothing to call at exit */
  jmp *%rdi

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9a000000ffff
  .quad 0x00af9a000000ffff
  .quad 0x00cf92000000ffff
gdt_pointer:
  .word . - gdt - 1
  .long gdt

  .bss
  .balign 4096
page_map:
  .skip 4096
directory_map:
  .skip 4096
directory:
  .skip 4096
table: /* of the first 2 MiB */
  .skip 4096
  .skip 16384
stack_end:
program_stack:
  .skip 8

  .section .note.GNU-stack, "", @progbits
