// Memory of others is told to whoever subscribed, once for as long as somebody shares it; the rings are one of those users.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Core.Tests.Uring;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Tests.Reactors;

public sealed unsafe class SharedMemoryTests : IDisposable
{
    private static readonly PinPermit s_permit = new(errno => throw new InvalidOperationException($"refused: {errno}"));

    private readonly Reactor _reactor = Reactor.CreateStepped(new ReactorOptions { Name = "stepped", RingEntries = 0 });
    private readonly List<Memory> _memories = [];

    private SharedMemory Shared => _reactor.SharedMemory;

    public void Dispose()
    {
        _reactor.Dispose();
        _memories.ForEach(m => m.Dispose());
    }

    [Fact]
    public void A_user_hears_of_the_first_and_of_the_last_who_shares_it()
    {
        var user = new Listener();
        Memory memory = Make();
        Shared.Subscribe(user);
        Shared.Add(memory, s_permit);
        Shared.Add(memory, s_permit);
        Assert.Equal([(memory, true)], user.Heard);
        Assert.Same(s_permit, user.Permit);
        Shared.Remove(memory);
        Assert.Single(user.Heard);
        Shared.Remove(memory);
        Assert.Equal([(memory, true), (memory, false)], user.Heard);
    }

    [Fact]
    public void One_who_comes_later_hears_of_what_is_there_and_one_who_left_hears_nothing()
    {
        (Memory gone, Memory first, Memory second) = (Make(), Make(), Make());
        Shared.Add(gone, null);
        Shared.Add(first, null);
        Shared.Remove(gone);
        var user = new Listener();
        Shared.Subscribe(user);
        Assert.Equal([(first, true)], user.Heard);
        Assert.Null(user.Permit);
        Shared.Add(second, null);
        Shared.Unsubscribe(user);
        Shared.Remove(first);
        Shared.Remove(second);
        Assert.Equal([(first, true), (second, true)], user.Heard);
    }

    [Fact]
    public void Rings_register_what_may_be_held_and_written_and_nothing_else()
    {
        using var kernel = new BufferKernel();
        IoUring ring = AddRing(kernel);
        (Memory held, Memory withoutPermit, Memory readOnly) = (Make(), Make(), Make(isWritable: false));
        Shared.Add(held, s_permit);
        Shared.Add(withoutPermit, null);
        Shared.Add(readOnly, s_permit);
        Settle();
        Assert.Equal(1, kernel.Held);
        Assert.True(ring.Pinned.Find(held.Address, 512) >= 0);
        Assert.Equal(-1, ring.Pinned.Find(withoutPermit.Address, 512));
        Assert.Equal(-1, ring.Pinned.Find(readOnly.Address, 512));

        Shared.Remove(withoutPermit);
        Shared.Remove(readOnly);
        Settle();
        Assert.Equal(1, kernel.Held);
        Shared.Remove(held);
        Assert.Equal(-1, ring.Pinned.Find(held.Address, 512));
        Settle();
        Assert.Equal(0, kernel.Held);
        _reactor.RemoveRing(ring);
    }

    [Fact]
    public void What_the_kernel_refuses_is_told_by_the_permit_and_the_rest_goes_on()
    {
        using var kernel = new BufferKernel { Refusal = Errno.ENOMEM };
        IoUring ring = AddRing(kernel);
        var refusals = new List<int>();
        (Memory refused, Memory other) = (Make(), Make());
        Shared.Add(refused, new PinPermit(refusals.Add));
        Settle();
        Assert.Equal([Errno.ENOMEM], refusals);
        Assert.Equal(-1, ring.Pinned.Find(refused.Address, 512));

        kernel.Refusal = 0;
        Shared.Add(other, s_permit);
        Settle();
        Assert.True(ring.Pinned.Find(other.Address, 512) >= 0);
        Shared.Remove(refused);
        Shared.Remove(other);
        Settle();
        Assert.Equal(0, kernel.Held);
        Assert.Single(refusals);
        _reactor.RemoveRing(ring);
    }

    private IoUring AddRing(BufferKernel kernel)
    {
        var ring = new IoUring(kernel, kernel.Memory, 0);
        _reactor.AddRing(ring);
        return ring;
    }

    private Memory Make(bool isWritable = true)
    {
        var memory = new Memory(isWritable);
        _memories.Add(memory);
        return memory;
    }

    private void Settle()
    {
        for (int i = 0; i < 20; i++)
        {
            _ = _reactor.Step();
        }
    }

    private sealed class Memory(bool isWritable) : ISharedMemory, IDisposable
    {
        public byte* Address { get; } = (byte*)NativeMemory.AlignedAlloc(4096, 4096);

        public ulong SizeBytes => 4096;

        public bool IsWritable => isWritable;

        public void Dispose() => NativeMemory.AlignedFree(Address);
    }

    private sealed class Listener : ISharedMemoryUser
    {
        public List<(ISharedMemory Memory, bool IsThere)> Heard { get; } = [];

        public PinPermit? Permit { get; private set; }

        public void OnShared(ISharedMemory memory, PinPermit? pinning)
        {
            Heard.Add((memory, true));
            Permit = pinning;
        }

        public void OnWithdrawn(ISharedMemory memory) => Heard.Add((memory, false));
    }

    /// <summary>Counts the buffers that are registered, or refuses them.</summary>
    private sealed class BufferKernel : IUringKernel, IDisposable
    {
        private readonly FakeUringKernel _rings = new(8);

        public UringMemory Memory => _rings.Memory;

        public int Refusal { get; set; }

        public int Held { get; private set; }

        public int Enter(uint toSubmit, uint minComplete, uint flags) => 0;

        public int Register(uint opcode, void* arg, uint nrArgs)
        {
            if (opcode != UringAbi.IORING_REGISTER_BUFFERS_UPDATE)
            {
                return 0;
            }

            bool isRemoval = ((IoVec*)((io_uring_rsrc_update2*)arg)->data)->Base is null;
            if (!isRemoval && Refusal != 0)
            {
                return -Refusal;
            }

            Held += isRemoval ? -1 : 1;
            return 1;
        }

        public void Dispose() => _rings.Dispose();
    }
}
