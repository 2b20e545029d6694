// The end of a volume whose drive does not answer: by the control socket and by a signal. Neither waits for ever, and both say
// what was left.

using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Null;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class HangingEndTests : IDisposable
{
    private const string Left = "member 1 (/dev/slow): 3 requests, the oldest 42 s old";

    /// <summary>Far below this the end must have come; a test that waits so long fails.</summary>
    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(60);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;
    private readonly LogLines _log = new();
    private readonly FakeVolume _volume = new();
    private readonly FakeFrontend _frontend = new();

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public void Dispose()
    {
        _log.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task AStopByTheControlSocketEndsWithoutWhatHangsAndSaysSo()
    {
        _volume.Hanging = [new UnfinishedJson(1, "/dev/slow", 3, 42)];
        VolumeServer server = await StartAsync();
        var request = new ControlRequest { Command = "stop", Force = true };
        ControlResponse answer = await VolumeRequests.AnswerAsync(server, request, CancellationToken.None).WaitAsync(s_tooLong);
        Assert.True(answer.Ok);
        Assert.Equal([new UnfinishedJson(1, "/dev/slow", 3, 42)], answer.Unfinished);
        await server.Ended.WaitAsync(s_tooLong);
        Assert.Equal(ExitCode.Failed, await ServeCommand.EndAsync(server, new Terminal(TextWriter.Null, TextWriter.Null)).WaitAsync(s_tooLong));
        await server.DisposeAsync().AsTask().WaitAsync(s_tooLong);
        Assert.False(_volume.IsClosed);
        Assert.Contains(_log.Lines, l => l.Contains(Left, StringComparison.Ordinal));
    }

    [Fact]
    public async Task ASignalEndsItWithoutWhatHangsAndSaysSo()
    {
        _volume.Hanging = [new UnfinishedJson(1, "/dev/slow", 3, 42)];
        VolumeServer server = await StartAsync();
        Assert.Equal(ExitCode.Failed, await ServeCommand.EndAsync(server, new Terminal(TextWriter.Null, TextWriter.Null)).WaitAsync(s_tooLong));
        await server.DisposeAsync().AsTask().WaitAsync(s_tooLong);
        Assert.False(_volume.IsClosed);
        Assert.Contains(_log.Lines, l => l.Contains(Left, StringComparison.Ordinal));
    }

    /// <summary>A volume of one drive has nobody who looks at ages: that no request is answered any more is enough.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task OneDriveThatAnswersNothingAnyMoreIsNotWaitedForEither(bool bySignal)
    {
        _volume.Hanging = null;
        _frontend.Statistics = new ExportStatistics { Reads = 5, InFlight = 2 };
        VolumeServer server = await StartAsync();
        await (bySignal ? server.ShutDownAsync() : server.StopAsync(StopMode.Force, CancellationToken.None)).WaitAsync(s_tooLong);
        UnfinishedJson left = Assert.Single(server.Unfinished!);
        Assert.Equal((null, _volume.Device.Name, 2), (left.Role, left.Drive, left.Requests));
        Assert.False(server.EndedCleanly);
        await server.DisposeAsync().AsTask().WaitAsync(s_tooLong);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task AnEndThatIsOnlySlowIsWaitedFor(bool hasInFlight)
    {
        _volume.Hanging = hasInFlight ? [] : null;
        _frontend.Statistics = new ExportStatistics { InFlight = hasInFlight ? 2 : 0 };
        VolumeServer server = await StartAsync();
        Task stop = server.StopAsync(StopMode.Force, CancellationToken.None);
        await Task.WhenAny(stop, Task.Delay(300));
        Assert.False(stop.IsCompleted);
        _frontend.Release();
        await stop.WaitAsync(s_tooLong);
        Assert.Null(server.Unfinished);
        Assert.True(server.EndedCleanly);
        await server.DisposeAsync();
        Assert.True(_volume.IsClosed);
    }

    /// <summary>A change that waits for the drive that hangs, such as a resize, must not hold up the end either.</summary>
    [Fact]
    public async Task ASignalDoesNotWaitForAChangeThatHangs()
    {
        _volume.Hanging = [];
        _frontend.Release();
        VolumeServer server = await StartAsync();
        Task resize = server.ResizeAsync(null, mayShrink: false, CancellationToken.None);
        await server.ShutDownAsync().WaitAsync(s_tooLong);
        Assert.False(resize.IsCompleted);
        Assert.Equal(RefusalKind.Refused, (await Assert.ThrowsAsync<RefusalException>(
            () => server.StopAsync(StopMode.Force, CancellationToken.None).WaitAsync(s_tooLong))).Kind);
        _volume.EndResize();
        await resize.WaitAsync(s_tooLong);
        await server.DisposeAsync();
    }

    [Fact]
    public async Task TheCommandSaysWhatWasLeftAndItsExitCodeAndItsJsonToo()
    {
        _volume.Hanging = [new UnfinishedJson(1, "/dev/slow", 3, 42)];
        new VolumeStore(Directories).Put(_record);
        VolumeServer server = await StartAsync();
        VolumeLock held = VolumeLock.Take(Directories, _record.Name, "served");
        ControlServer control = ControlServer.Start(
            Directories, _record.Name, (request, c) => VolumeRequests.AnswerAsync(server, request, c), _log.CreateLogger("control"));
        _ = server.Ended.ContinueWith(_ => held.Dispose(), TaskScheduler.Default);
        (int code, string output, string errors) = await RunAsync("volume", "stop", _record.Name, "--force", "--json");
        Assert.Equal(ExitCode.Failed, code);
        Assert.Contains(Left, errors, StringComparison.Ordinal);
        JsonElement left = Assert.Single(JsonDocument.Parse(output).RootElement.GetProperty("unfinished").EnumerateArray());
        Assert.Equal((1, "/dev/slow", 3, 42), (
            left.GetProperty("role").GetInt32(), left.GetProperty("drive").GetString(), left.GetProperty("requests").GetInt32(),
            left.GetProperty("oldestSeconds").GetInt32()));
        await control.DisposeAsync();
        await server.DisposeAsync();
    }

    private readonly VolumeRecord _record = new()
    {
        Name = "data", Uuid = Guid.NewGuid(), Level = VolumeOpener.NoLevel, SizeBytes = 1 << 20, Drives = ["null:1MiB"], Volatile = true,
    };

    private async Task<(int Code, string Output, string Errors)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors).WaitAsync(s_tooLong);
        return (code, output.ToString(), errors.ToString());
    }

    private Task<VolumeServer> StartAsync()
    {
        var options = new ServeOptions(ReactorPlan.Make(null, CpuSet.Allowed(), 1), IdlePolicy.Balanced, new VolumeStart())
        {
            Patience = TimeSpan.FromMilliseconds(60),
            Open = (_, _, _, _, _) => Task.FromResult<OpenVolume>(_volume),
        };
        return VolumeServer.StartAsync(
            _record, [new FrontendGroup { Frontend = _frontend.Name }], [_frontend], options, Directories, _log, CancellationToken.None);
    }

    private sealed class FakeVolume : OpenVolume
    {
        private readonly TaskCompletionSource _resize = new();

        public IReadOnlyList<UnfinishedJson>? Hanging { get; set; }

        public bool IsClosed { get; private set; }

        public override IBlockDevice Device { get; } = new NullDrive(1 << 20);

        public override IReadOnlyList<string> Notes => [];

        public override IReadOnlyList<UnfinishedJson>? GetHanging() => Hanging;

        public override ArrayJson? GetArray() => null;

        public override Task ResizeAsync(long? sizeBytes, CancellationToken cancellation) => _resize.Task;

        public void EndResize() => _resize.TrySetResult();

        public override ValueTask DisposeAsync()
        {
            IsClosed = true;
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>A door whose end does not come before it is released.</summary>
    private sealed class FakeFrontend : IFrontend, IExport
    {
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ExportStatistics Statistics { get; set; } = new() { InFlight = 3 };

        public string Name => "fake";

        public string Description => "A door.";

        public IReadOnlyList<FrontendOption> Options => [];

        public string Id => "data/fake/0";

        public string Frontend => Name;

        public ExportEndpoint Endpoint { get; } = new(EndpointKind.BlockDevice, "/dev/fake");

        public IReadOnlyList<AttachCommand> AttachCommands => [];

        public IReadOnlyList<string> Notes => [];

        public Task Completion => _end.Task;

        public FrontendProbe Probe() => new(true, "yes", [], new Dictionary<string, string>());

        public Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation) => Task.FromResult<IExport>(this);

        public ExportStatistics GetStatistics() => Statistics;

        public Task ResizeAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task DrainAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task ResumeAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task StopAsync(StopMode mode, CancellationToken cancellation) => _end.Task;

        public void Release() => _end.TrySetResult();

        public async ValueTask DisposeAsync() => await _end.Task;
    }

    private sealed class LogLines : ILoggerFactory, ILogger
    {
        private readonly List<string> _lines = [];

        public IReadOnlyList<string> Lines
        {
            get
            {
                lock (_lines)
                {
                    return [.. _lines];
                }
            }
        }

        public ILogger CreateLogger(string categoryName) => this;

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (_lines)
            {
                _lines.Add(formatter(state, exception));
            }
        }

        public void Dispose()
        {
        }
    }
}
