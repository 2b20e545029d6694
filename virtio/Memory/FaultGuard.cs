// Keeps the process alive when somebody takes away memory that he shared with it.
//
// Theory of operation. Memory of a guest is a file that the guest's owner may make shorter at any time, or for which there may be
// no pages: a sealed memfd of huge pages when the pool is empty, a file on a tmpfs that is full. An access beyond the new end, or
// to such a page, raises SIGBUS (mmap(2), "Errors"), for which the .NET runtime ends the process, and with it every other
// guest. So SIGBUS gets a handler of our own: when the address lies in a guarded range and the reason is BUS_ADRERR
// (sigaction(2)), it puts fresh zeroes in the place of the page and all that follow it in the range, counts the loss in the
// range's slot and in the sum of all, writes to an eventfd, and lets the access go on. Every other SIGBUS goes to the handler
// that was there before, the runtime's; the runtime of a program of machine code has none, and then the signal gets what it had
// before, and comes once more. Whoever answers a request compares the sum with the one that he knows, so that nothing is
// called done that went to such a page. A thread that waits for the eventfd tells the range's owner, who ends the session.
//
// All that follows, because each piece that is replaced splits the mapping, and the process has a limited number of map entries:
// in this way a range takes two at most, whatever is touched in whatever order. The rest of the range is as lost as the page: its
// session ends. Where the kernel has no room for so much (strict overcommit), the page alone is replaced.
//
// The handler is machine code, written out below: a handler in C# cannot be, because the signal comes while its thread runs
// managed code, which the runtime does not allow to be entered again. It touches nothing of the runtime: it walks a table of a
// fixed place and size, and makes two system calls (mmap, write), both async-signal-safe. The table is written by plain stores in
// an order that the handler, on the same or another x86 processor, sees as well: a slot's end is written last and cleared first,
// and the end is what makes it count.
//
// Nothing of this costs an access that does not fault.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.Virtio.Memory;

/// <summary>The guarded ranges of this process. Any thread.</summary>
internal static unsafe class FaultGuard
{
    /// <summary>Most ranges at once.</summary>
    public const int Capacity = 16384;

    private const nuint CodeBytes = 4096;
    private const int MAP_FIXED = 0x10;
    private const int SYS_write = 1;
    private const int SYS_mmap = 9;
    private const int SYS_rt_sigaction = 13;
    private const int SYS_getpid = 39;
    private const int SYS_kill = 62;

    /// <summary>Where in the code what gives SIGBUS its former action is, and the kernel's struct sigaction for that.</summary>
    private const int Former = 1024;
    private const int FormerAction = 2048;

    private static readonly Lock s_lock = new();
    private static readonly MappedRegion?[] s_regions = new MappedRegion?[Capacity];
    private static FreeIndices s_free = new(Capacity);
    private static readonly bool[] s_told = new bool[Capacity];
    private static Slot* s_slots;
    private static int s_loss = -1;

    /// <summary>Where the number of all losses so far stands; it only grows.</summary>
    public static ulong* Losses { get; } = (ulong*)NativeMemory.AlignedAlloc(64, 64);

    /// <summary>Why ranges cannot be guarded here; null when they can, or when none has been asked for yet.</summary>
    public static string? Refusal { get; private set; }

#pragma warning disable CA1810 // What Losses points to has to be zero before anybody reads it.
    static FaultGuard() => *Losses = 0;
#pragma warning restore CA1810

    /// <summary>Guards a mapping from now on.</summary>
    /// <param name="region">Who is told of a loss (<see cref="MappedRegion.OnLost"/>).</param>
    /// <param name="address">First byte; a multiple of the page size.</param>
    /// <param name="bytes">Length; a multiple of the page size.</param>
    /// <param name="pageBytes">The page size of the mapping: that of huge pages where it is of them.</param>
    /// <returns>The slot for <see cref="Remove"/>, or -1 where it cannot be guarded.</returns>
    public static int Add(MappedRegion region, void* address, nuint bytes, nuint pageBytes)
    {
        lock (s_lock)
        {
            if (!IsArmed())
            {
                return -1;
            }

            int index = s_free.Take(); // the budget of mappings is no larger than this table

            s_regions[index] = region;
            s_told[index] = false;
            Slot* slot = &s_slots[index];
            slot->Start = (nuint)address;
            slot->PageBytes = pageBytes;
            slot->Losses = 0;
            Volatile.Write(ref slot->End, (nuint)address + bytes);
            return index;
        }
    }

    /// <summary>Ends the guard of a mapping, before it is unmapped: its addresses may be anybody's afterwards.</summary>
    public static void Remove(int index)
    {
        lock (s_lock)
        {
            Volatile.Write(ref s_slots[index].End, 0);
            s_regions[index] = null;
            s_free.Return(index);
        }
    }

    /// <summary>Whether a page of a mapping was lost.</summary>
    public static bool HasLost(int index) => Volatile.Read(ref s_slots[index].Losses) != 0;

    private static bool IsArmed()
    {
        if (s_slots is null && Refusal is null)
        {
            Refusal = Arm();
        }

        return Refusal is null;
    }

    /// <summary>Sets the handler; returns why it cannot be, or null.</summary>
    private static string? Arm()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return $"there is no handler for {RuntimeInformation.ProcessArchitecture}";
        }

        sigaction action;
        int rc = Libc.set_sigaction(Libc.SIGBUS, null, &action);
        if (rc < 0)
        {
            return $"what SIGBUS does cannot be read (errno {-rc})";
        }

        s_loss = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        void* code = Libc.mmap(null, CodeBytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);

        // Mapped, not allocated: pages of zeroes, of which only those are made that are looked at.
        void* slots = Libc.mmap(
            null, (nuint)(Capacity * sizeof(Slot)), Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
        if (s_loss < 0 || code == Libc.MAP_FAILED || slots == Libc.MAP_FAILED)
        {
            return $"there is no descriptor or no memory for it (errno {-s_loss})";
        }

        WriteHandler(new Span<byte>(code, (int)CodeBytes), (nuint)slots, s_loss, (nuint)action.sa_handler);
        rc = Libc.mprotect(code, CodeBytes, Libc.PROT_READ | Libc.PROT_EXEC);
        if (rc < 0)
        {
            return $"memory cannot be made executable (errno {-rc})";
        }

        // The flags and the mask stay as the runtime wants them: its handler runs after ours. Where it has none they are as it has
        // them for other faults.
        if (!IsHandler((nuint)action.sa_handler))
        {
            action.sa_flags = Libc.SA_SIGINFO | Libc.SA_ONSTACK | Libc.SA_RESTART;
        }

        action.sa_handler = code;
        rc = Libc.set_sigaction(Libc.SIGBUS, &action, null);
        if (rc < 0)
        {
            return $"the handler is refused (errno {-rc})";
        }

        s_slots = (Slot*)slots;
        new Thread(WatchLosses, 64 << 10) { IsBackground = true, Name = "memory losses" }.Start();
        return null;
    }

    /// <summary>Whether an action is a function: SIG_DFL is 0, and SIG_IGN 1.</summary>
    private static bool IsHandler(nuint action) => action > 1;

    /// <summary>
    /// Writes the handler: x86-64, called by the kernel as a function of (rdi: signal, rsi: siginfo_t*, rdx: context). It may use
    /// every register that a function may; the kernel restores them all.
    /// </summary>
    private static void WriteHandler(Span<byte> code, nuint slots, int loss, nuint next)
    {
        int length = 0;
        Put(code, ref length, [0x83, 0x7E, 0x08, 0x02]);             //         cmp dword [rsi+8], 2     si_code: BUS_ADRERR
        int notAddress = PutJump(code, ref length, 0x75);            //         jne next
        Put(code, ref length, [0x48, 0x8B, 0x46, 0x10]);             //         mov rax, [rsi+16]        si_addr
        Put(code, ref length, [0x49, 0xB8], slots);                  //         mov r8, slots
        Put(code, ref length, [0xB9], Capacity);                     //         mov ecx, Capacity
        int walk = length;
        Put(code, ref length, [0x49, 0x3B, 0x00]);                   // walk:   cmp rax, [r8]            Start
        int below = PutJump(code, ref length, 0x72);                 //         jb other
        Put(code, ref length, [0x49, 0x3B, 0x40, 0x08]);             //         cmp rax, [r8+8]          End
        int found = PutJump(code, ref length, 0x72);                 //         jb found
        Land(code, length, below);
        Put(code, ref length, [0x49, 0x83, 0xC0, (byte)sizeof(Slot)]); // other: add r8, sizeof(Slot)
        Put(code, ref length, [0xFF, 0xC9]);                         //         dec ecx
        Put(code, ref length, [0x75, Back(walk, length)]);  //         jnz walk
        int chain = length;
        Land(code, length, notAddress);
        if (IsHandler(next))
        {
            Put(code, ref length, [0x48, 0xB8], next);               // next:   mov rax, the handler before
            Put(code, ref length, [0xFF, 0xE0]);                     //         jmp rax
        }
        else
        {
            Put(code, ref length, [0xE9], Former - (length + 5));    // next:   jmp former
            PutFormer(code, Former);
            BinaryPrimitives.WriteUInt64LittleEndian(code[FormerAction..], next);
        }

        Land(code, length, found);
        Put(code, ref length, [0x57, 0x56, 0x52, 0x41, 0x50]);       // found:  push rdi, rsi, rdx, r8
        Put(code, ref length, [0x49, 0x8B, 0x78, 0x10]);             //         mov rdi, [r8+16]         PageBytes
        Put(code, ref length, [0x48, 0xF7, 0xDF]);                   //         neg rdi
        Put(code, ref length, [0x48, 0x21, 0xC7]);                   //         and rdi, rax             the page of the address
        Put(code, ref length, [0x49, 0x8B, 0x70, 0x08]);             //         mov rsi, [r8+8]          End
        Put(code, ref length, [0x48, 0x29, 0xFE]);                   //         sub rsi, rdi             length: all that follows
        Put(code, ref length, [0xBA], Libc.PROT_READ | Libc.PROT_WRITE); //     mov edx, protection
        Put(code, ref length, [0x41, 0xBA], MAP_FIXED | Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE); // mov r10d, flags
        Put(code, ref length, [0x49, 0xC7, 0xC0, 0xFF, 0xFF, 0xFF, 0xFF]); //   mov r8, -1
        Put(code, ref length, [0x45, 0x31, 0xC9]);                   //         xor r9d, r9d
        int map = length;
        Put(code, ref length, [0xB8], SYS_mmap);                     // map:    mov eax, SYS_mmap
        Put(code, ref length, [0x0F, 0x05]);                         //         syscall
        Put(code, ref length, [0x48, 0x3D, 0x01, 0xF0, 0xFF, 0xFF]); //         cmp rax, -4095
        int mapped = PutJump(code, ref length, 0x72);                //         jb mapped
        Put(code, ref length, [0x4C, 0x8B, 0x1C, 0x24]);             //         mov r11, [rsp]           the slot
        Put(code, ref length, [0x49, 0x3B, 0x73, 0x10]);             //         cmp rsi, [r11+16]        PageBytes
        Put(code, ref length, [0x49, 0x8B, 0x73, 0x10]);             //         mov rsi, [r11+16]        length: the page
        Put(code, ref length, [0x75, Back(map, length)]);   //         jne map
        Put(code, ref length, [0x41, 0x58, 0x5A, 0x5E, 0x5F]);       //         pop r8, rdx, rsi, rdi
        Put(code, ref length, [0xEB, Back(chain, length)]); //         jmp next                 not even one page
        Land(code, length, mapped);
        Put(code, ref length, [0x41, 0x58, 0x5A, 0x5E, 0x5F]);       // mapped: pop r8, rdx, rsi, rdi
        Put(code, ref length, [0xF0, 0x49, 0xFF, 0x40, 0x18]);       //         lock inc qword [r8+24]   Losses
        Put(code, ref length, [0x48, 0xB8], (nuint)Losses);          //         mov rax, Losses
        Put(code, ref length, [0xF0, 0x48, 0xFF, 0x00]);             //         lock inc qword [rax]
        Put(code, ref length, [0x6A, 0x01]);                         //         push 1                   the eventfd takes 8 bytes
        Put(code, ref length, [0x48, 0x89, 0xE6]);                   //         mov rsi, rsp
        Put(code, ref length, [0xBF], loss);                         //         mov edi, loss
        Put(code, ref length, [0xBA], sizeof(ulong));                //         mov edx, 8
        Put(code, ref length, [0xB8], SYS_write);                    //         mov eax, SYS_write
        Put(code, ref length, [0x0F, 0x05]);                         //         syscall
        Put(code, ref length, [0x58]);                               //         pop rax
        Put(code, ref length, [0xC3]);                               //         ret
    }

    /// <summary>
    /// Gives the signal what it had before and sends it once more: it comes when the handler has returned, and the process ends
    /// as it would have.
    /// </summary>
    private static void PutFormer(Span<byte> code, int length)
    {
        Put(code, ref length, [0xBF], Libc.SIGBUS);                  // former: mov edi, SIGBUS
        Put(code, ref length, [0x48, 0x8D, 0x35], FormerAction - (length + 7)); // lea rsi, [rip + ...]
        Put(code, ref length, [0x31, 0xD2]);                         //         xor edx, edx
        Put(code, ref length, [0x41, 0xBA], sizeof(ulong));          //         mov r10d, 8              size of a set of signals
        Put(code, ref length, [0xB8], SYS_rt_sigaction);             //         mov eax, SYS_rt_sigaction
        Put(code, ref length, [0x0F, 0x05]);                         //         syscall
        Put(code, ref length, [0xB8], SYS_getpid);                   //         mov eax, SYS_getpid
        Put(code, ref length, [0x0F, 0x05]);                         //         syscall
        Put(code, ref length, [0x89, 0xC7]);                         //         mov edi, eax
        Put(code, ref length, [0xBE], Libc.SIGBUS);                  //         mov esi, SIGBUS
        Put(code, ref length, [0xB8], SYS_kill);                     //         mov eax, SYS_kill
        Put(code, ref length, [0x0F, 0x05]);                         //         syscall
        Put(code, ref length, [0xC3]);                               //         ret
    }

    private static void Put(Span<byte> code, ref int length, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(code[length..]);
        length += bytes.Length;
    }

    private static void Put(Span<byte> code, ref int length, ReadOnlySpan<byte> bytes, int immediate)
    {
        Put(code, ref length, bytes);
        BinaryPrimitives.WriteInt32LittleEndian(code[length..], immediate);
        length += sizeof(int);
    }

    private static void Put(Span<byte> code, ref int length, ReadOnlySpan<byte> bytes, nuint immediate)
    {
        Put(code, ref length, bytes);
        BinaryPrimitives.WriteUInt64LittleEndian(code[length..], immediate);
        length += sizeof(ulong);
    }

    /// <summary>A short jump whose distance is not known yet; returns where the distance stands.</summary>
    private static int PutJump(Span<byte> code, ref int length, byte operation)
    {
        Put(code, ref length, [operation, 0]);
        return length - 1;
    }

    /// <summary>The distance of a short jump back, of which the operation stands at a place.</summary>
    private static byte Back(int to, int from) => (byte)checked((sbyte)(to - (from + 2)));

    /// <summary>Lets a jump end at the given place.</summary>
    private static void Land(Span<byte> code, int place, int distanceAt)
    {
        int distance = place - (distanceAt + 1);
        code[distanceAt] = (byte)checked((sbyte)distance);
    }

    private static void WatchLosses()
    {
        ulong count;
        while (Libc.read(s_loss, &count, sizeof(ulong)) is var rc && (rc == sizeof(ulong) || rc == -Core.Block.Errno.EINTR))
        {
            var told = new List<MappedRegion>();
            lock (s_lock)
            {
                for (int i = 0; i < Capacity; i++)
                {
                    if (s_regions[i] is { } region && !s_told[i] && HasLost(i))
                    {
                        s_told[i] = true;
                        told.Add(region);
                    }
                }
            }

            // Without the lock: an owner may let go of the region.
            told.ForEach(region => region.OnLost?.Invoke());
        }
    }

    /// <summary>A guarded range; the handler knows the places of the fields.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Slot
    {
        public nuint Start;
        public nuint End;
        public nuint PageBytes;
        public ulong Losses;
    }
}
