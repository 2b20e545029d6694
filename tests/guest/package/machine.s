# What a machine does in which a volume is the second disk (tests/guest/package): its firmware starts this from the first one. It looks for
# itself in a sector of the volume: "found", or it writes itself there: "written". The word goes to the first serial port, and the
# machine ends by port 0x501 (QEMU's isa-debug-exit) with twice the code and one more: 0x11, 0x10, or 0x7f for a disk that fails.
#
# as --32 machine.s -o machine.o && ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o machine.img machine.o

.code16
.set volume, 0x81
.set sector, 32768                      # At 16 MiB, behind what the test itself writes.
.set there, 0x8000

        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        cld
        movw    $read, %si
        movw    $0x4200, %ax            # INT 13h, extended read
        call    disk
        movw    $start, %si
        movw    $there, %di
        movw    $256, %cx
        repe cmpsw
        movw    $found, %si
        movb    $0x11, %bl
        je      say
        movw    $write, %si
        movw    $0x4300, %ax            # extended write
        call    disk
        movw    $written, %si
        movb    $0x10, %bl
say:    movw    $0x3f8, %dx
1:      lodsb
        testb   %al, %al
        jz      end
        outb    %al, %dx
        jmp     1b
end:    movb    %bl, %al
        movw    $0x501, %dx
        outb    %al, %dx
2:      hlt
        jmp     2b

disk:   movb    $volume, %dl
        int     $0x13
        movb    $0x7f, %bl
        jc      end
        ret

.set start, 0x7c00
found:   .asciz "found\n"
written: .asciz "written\n"

# Disk address packets: their size, one sector, where in memory, which one.
read:   .byte   16, 0, 1, 0
        .word   there, 0
        .quad   sector
write:  .byte   16, 0, 1, 0
        .word   start, 0
        .quad   sector

        .org    510
        .byte   0x55, 0xaa
