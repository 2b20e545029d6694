using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.CommandLine;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

/// <summary>A daemon in this process, in a directory of its own, and the commands that speak to it.</summary>
public abstract class DaemonTestBase : IAsyncDisposable
{
    /// <summary>Far below this everything is done; a test that waits so long fails.</summary>
    protected static readonly TimeSpan TooLong = TimeSpan.FromSeconds(120);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;
    private readonly ServiceProvider _services = Composition.Build();
    private ControlServer? _control;

    protected VolumeDaemon? Daemon { get; set; }

    protected StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    protected VolumeStore Store => new(Directories);

    public virtual async ValueTask DisposeAsync()
    {
        await EndAsync();
        await _services.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }

    protected DaemonOptions Options(TimeSpan wait) => new(
        ReactorPlan.Make(null, CpuSet.Allowed(), 1), IdlePolicy.Frugal, [.. _services.GetServices<IFrontend>()]) { WaitForDrives = wait };

    protected Task StartAsync(TimeSpan? wait = null) => StartAsync(Options(wait ?? TimeSpan.Zero));

    protected Task StartAsync(DaemonOptions options)
    {
        Daemon = VolumeDaemon.Start(options, Directories, NullLoggerFactory.Instance);
        _control = ControlServer.Start(
            Directories, StateDirectories.Daemon, (request, c) => DaemonRequests.AnswerAsync(Daemon, null, request, c), NullLogger.Instance);
        return Task.CompletedTask;
    }

    protected async Task EndAsync()
    {
        if (Daemon is not null)
        {
            await (_control?.DisposeAsync() ?? ValueTask.CompletedTask);
            await Daemon.DisposeAsync();
            (Daemon, _control) = (null, null);
        }
    }

    /// <summary>As if the daemon had been told so before.</summary>
    protected async Task ExportBothAsync(params string[] volumes)
    {
        await Task.CompletedTask;
        foreach (string volume in volumes)
        {
            Store.Change(volume, r => r with { Exports = [new ExportRecord { Frontend = "nbd" }] });
        }
    }

    protected async Task CreateAsync(string name, string level, int drives, string size = "4MiB")
    {
        string[] files = [.. Enumerable.Range(0, drives).Select(i => $"file:{PathOf($"{name}{i}")},size={size}")];
        await MustAsync(["volume", "create", name, "--level", level, .. files]);
    }

    protected string PathOf(string name) => Path.Combine(_directory, name);

    protected async Task<IReadOnlyList<DaemonExportJson>> ExportsAsync()
    {
        await Task.CompletedTask;
        string output = (await MustAsync("export", "list", "--json")).Output;
        return JsonSerializer.Deserialize(output, Output.OutputJson.Default.IReadOnlyListDaemonExportJson)!;
    }

    protected async Task<JsonElement> ShowAsync(string volume) =>
        JsonDocument.Parse((await MustAsync("volume", "show", volume, "--json")).Output).RootElement;

    protected async Task<(string Output, string Errors)> MustAsync(params string[] arguments)
    {
        (int code, string output, string errors) = await RunAsync(arguments);
        Assert.True(code == ExitCode.Ok, $"{string.Join(' ', arguments)}: {code}, {errors}");
        return (output, errors);
    }

    protected async Task<(int Code, string Output, string Errors)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors).WaitAsync(TooLong);
        return (code, output.ToString(), errors.ToString());
    }
}
