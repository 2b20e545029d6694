using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Logging;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Frontends.VhostUser;

// Tests count the descriptors, mappings and threads of the process: one at a time.
[assembly: Xunit.v3.Parallelization(Mode = Xunit.Sdk.ParallelMode.None)]

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// A served device with its reactors, in a directory of its own. Faults of reactors and errors in the log fail the test.
/// </summary>
internal sealed class ExportFixture : IDisposable
{
    private readonly ReactorFixture _reactors;

    public ExportFixture(
        IBlockDevice? device = null, int reactors = 1, int? queues = null, bool readOnly = false, string serial = "serial-1",
        IReadOnlyDictionary<string, string>? options = null, TimeSpan? maxSleep = null, TimeProvider? time = null)
    {
        Directory = System.IO.Directory.CreateTempSubdirectory("pbvu").FullName;
        Device = device ?? new GatedDevice(1 << 20);
        _reactors = new ReactorFixture(reactors, ringEntries: 0, maxSleep);
        Log = new LogCollector();
        Spec = new ExportSpec
        {
            Id = "test/vhost-user/0",
            VolumeName = "test",
            Device = Device,
            Queues = queues,
            ReadOnly = readOnly,
            Serial = serial,
            SocketPath = Path.Combine(Directory, "s.sock"),
            Options = options ?? new Dictionary<string, string>(),
        };
        Context = new ExportContext(_reactors.Group, Directory, Directory, Log) { Clock = time ?? TimeProvider.System };
        Export = Start();
    }

    public string Directory { get; }

    public IBlockDevice Device { get; }

    public GatedDevice Gated => (GatedDevice)Device;

    public ExportSpec Spec { get; }

    public ExportContext Context { get; }

    public LogCollector Log { get; }

    public IExport Export { get; private set; }

    public string SocketPath => Spec.SocketPath!;

    public ReactorFixture Reactors => _reactors;

    /// <summary>Waits until something is so.</summary>
    public static void Until(Func<bool> condition, string what, int timeoutMs = 20_000)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(watch.ElapsedMilliseconds < timeoutMs, $"Waited {timeoutMs} ms in vain: {what}");
            Thread.Sleep(1);
        }
    }

    /// <summary>
    /// Lets every reactor take a whole turn: what was there to do has been done, kicks that came before have been seen.
    /// </summary>
    public async Task SettleAsync()
    {
        for (int turn = 0; turn < 2; turn++)
        {
            await Task.WhenAll(_reactors.Reactors.Select(r => r.InvokeAsync(() => { })));
        }
    }

    /// <summary>Attaches the built-in client.</summary>
    public VhostUserClient Attach(Func<VhostUserClientOptions, VhostUserClientOptions>? change = null)
    {
        var options = new VhostUserClientOptions { SocketPath = SocketPath };
        return new VhostUserClient(change is null ? options : change(options));
    }

    /// <summary>Connects a front-end that sends what it is told.</summary>
    public RawFrontend Connect() => new(SocketPath);

    /// <summary>Stops the export and makes another like it: what a restart of the target looks like.</summary>
    public void Restart()
    {
        Export.StopAsync(StopMode.HandOver, CancellationToken.None).Wait();
        Export = Start();
    }

    /// <summary>Ends the export as one whose sessions go over to a successor: see <see cref="Succeed"/>.</summary>
    public Task<HandedOverExport> HandOverAsync() => ((IMovableExport)Export).HandOverAsync();

    /// <summary>Makes the successor.</summary>
    public void Succeed(HandedOverExport luggage) =>
        Export = new VhostUserFrontend().CreateAsync(Spec with { HandedOver = luggage }, Context, CancellationToken.None).Result;

    public void Dispose()
    {
        (Device as GatedDevice)?.Release();
        Export.StopAsync(StopMode.Force, CancellationToken.None).Wait();
        _reactors.Dispose();
        System.IO.Directory.Delete(Directory, recursive: true);
        Assert.Empty(Log.Errors);
    }

    private IExport Start() => new VhostUserFrontend().CreateAsync(Spec, Context, CancellationToken.None).Result;
}

/// <summary>Keeps what is logged.</summary>
internal sealed class LogCollector : ILoggerFactory, ILogger
{
    private readonly ConcurrentQueue<(LogLevel Level, string Text)> _lines = new();

    public IReadOnlyList<string> Lines => [.. _lines.Select(l => l.Text)];

    public IReadOnlyList<string> Errors => [.. _lines.Where(l => l.Level >= LogLevel.Error).Select(l => l.Text)];

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _lines.Enqueue((logLevel, formatter(state, exception) + (exception is null ? string.Empty : $" ({exception})")));

    public void Dispose()
    {
    }
}

/// <summary>Requests one at a time.</summary>
internal static class ClientIo
{
    public static byte Do(this ClientQueue queue, ClientOperation operation, long offset, long length, int slot = 0)
    {
        queue.Submit(slot, operation, offset, length);
        queue.Publish();
        return queue.Take(slot);
    }

    /// <summary>Waits for one slot, which must be the only one in flight.</summary>
    public static byte Take(this ClientQueue queue, int slot)
    {
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        var watch = Stopwatch.StartNew();
        while (queue.Poll(done) == 0)
        {
            queue.Wait(20);
            Assert.True(watch.ElapsedMilliseconds < 20_000, "A request was not finished.");
        }

        Assert.Equal(slot, done[0].Slot);
        return done[0].Status;
    }

    /// <summary>Waits for all that is in flight and returns the statuses by slot.</summary>
    public static Dictionary<int, byte> TakeAll(this ClientQueue queue)
    {
        var statuses = new Dictionary<int, byte>();
        Span<ClientCompletion> done = stackalloc ClientCompletion[16];
        var watch = Stopwatch.StartNew();
        while (queue.InFlight != 0)
        {
            int count = queue.Poll(done);
            for (int i = 0; i < count; i++)
            {
                Assert.True(statuses.TryAdd(done[i].Slot, done[i].Status), $"Slot {done[i].Slot} came back twice.");
            }

            if (count == 0)
            {
                queue.Wait(20);
            }

            Assert.True(watch.ElapsedMilliseconds < 20_000, $"{queue.InFlight} requests were not finished.");
        }

        return statuses;
    }
}
