// The channel to a guest, with the guest played at the other end of a pair of streams in this process: no machine is needed
// for it.

using System.Text;
using Nerdbank.Streams;
using Polyblk.Machine;

namespace Polyblk.Compare.Tests;

public sealed class GuestChannelTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Reports_are_told_apart_and_the_status_ends_them()
    {
        var others = new List<string>();
        await using var channel = new GuestChannel(others.Add);
        (Stream host, Stream guest) = FullDuplexStream.CreatePair();
        Task<int?> status = channel.ReadAsync(host, CancellationToken.None);
        await SayAsync(guest, "CHECK write ok\nCHECK read failed of 4 KiB at 8\nhello there\nEXIT 3\nCHECK late ok\n");
        Assert.Equal(3, await status.WaitAsync(s_patience));
        Assert.Equal([new GuestCheck("write", true, ""), new GuestCheck("read", false, "of 4 KiB at 8")], channel.Checks);
        Assert.Equal(["hello there"], others);
    }

    [Fact]
    public async Task A_line_may_come_in_pieces()
    {
        await using var channel = new GuestChannel(_ => { });
        (Stream host, Stream guest) = FullDuplexStream.CreatePair();
        Task<int?> status = channel.ReadAsync(host, CancellationToken.None);
        foreach (char letter in "SIGNAL ready disk is here\nEXIT 0\n")
        {
            await SayAsync(guest, letter.ToString());
        }

        Assert.Equal(0, await status.WaitAsync(s_patience));
        Assert.Equal("disk is here", channel.TryTakeSignal("ready", out _));
    }

    [Fact]
    public async Task A_signal_is_delivered_once_and_only_by_its_whole_name()
    {
        await using var channel = new GuestChannel(_ => { });
        (Stream host, Stream guest) = FullDuplexStream.CreatePair();
        Assert.Null(channel.TryTakeSignal("ready", out Task changed));
        Task<int?> status = channel.ReadAsync(host, CancellationToken.None);
        await SayAsync(guest, "SIGNAL readyornot 1\n");
        await changed.WaitAsync(s_patience);
        Assert.Null(channel.TryTakeSignal("ready", out changed));
        await SayAsync(guest, "SIGNAL ready\n");
        await changed.WaitAsync(s_patience);
        Assert.Equal("", channel.TryTakeSignal("ready", out changed));
        Assert.Null(channel.TryTakeSignal("ready", out _));
        Assert.False(changed.IsCompleted);
        await guest.DisposeAsync();
        Assert.Null(await status.WaitAsync(s_patience));
    }

    [Fact]
    public async Task What_the_host_says_waits_for_the_connection()
    {
        await using var channel = new GuestChannel(_ => { });
        (Stream host, Stream guest) = FullDuplexStream.CreatePair();
        Task said = channel.SendAsync("go on", CancellationToken.None);
        Assert.False(said.IsCompleted);
        _ = channel.ReadAsync(host, CancellationToken.None);
        await said.WaitAsync(s_patience);
        using var reader = new StreamReader(guest);
        Assert.Equal("go on", await reader.ReadLineAsync().WaitAsync(s_patience));
    }

    [Fact]
    public async Task Nobody_waits_for_a_guest_that_will_not_come()
    {
        await using var channel = new GuestChannel(_ => { });
        Task said = channel.SendAsync("go on", CancellationToken.None);
        channel.End();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => said.WaitAsync(s_patience));
    }

    private static async Task SayAsync(Stream guest, string text)
    {
        await guest.WriteAsync(Encoding.UTF8.GetBytes(text));
        await guest.FlushAsync();
    }
}
