// A soak: lives for as long as it is told. Each job is a process of its own, so that one that breaks down takes nothing with it
// and has its seed said.

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Polyblk.Simulation.Tests.Lives;

namespace Polyblk.Simulation.Tests.Soak;

/// <summary>See the top of the file.</summary>
internal sealed class Soaking(SoakOptions options)
{
    private readonly List<string> _losses = [];
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly CancellationTokenSource _over = new();

    /// <summary>What it has reached.</summary>
    public SoakTally Tally { get; } = new();

    /// <summary>The command.</summary>
    /// <returns>The exit status: 0 when nothing was lost, 1 when something was, 2 for wrong arguments.</returns>
    public static int Run(string[] args)
    {
        try
        {
            return new Soaking(SoakOptions.Parse(args)).RunAsync().GetAwaiter().GetResult();
        }
        catch (FormatException e)
        {
            Console.Error.WriteLine($"soak: {e.Message} (see tests/simulation/soak --help)");
            return 2;
        }
    }

    /// <summary>Lives. Returns the exit status.</summary>
    public async Task<int> RunAsync()
    {
        if (options.Time is { } time)
        {
            _over.CancelAfter(time);
        }

        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End);
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End);
        Task jobs = Task.WhenAll(Enumerable.Range(0, options.Jobs).Select(RunJobAsync));
        while (await Task.WhenAny(jobs, Task.Delay(options.Every)) != jobs)
        {
            lock (Tally)
            {
                Console.WriteLine(Tally.Summary(_clock.Elapsed));
            }
        }

        await jobs;
        Console.WriteLine(Tally.Table());
        Console.WriteLine($"{Tally.Summary(_clock.Elapsed)}; {_losses.Count} lost");
        _losses.ForEach(Console.WriteLine);
        return _losses.Count == 0 && Tally.Lives != 0 ? 0 : 1;
    }

    /// <summary>Somebody has seen enough: what was reached is told all the same.</summary>
    private void End(PosixSignalContext context)
    {
        context.Cancel = true;
        _over.Cancel();
    }

    private async Task RunJobAsync(int index)
    {
        using Process process = Start(index);
        using CancellationTokenRegistration end = _over.Token.Register(process.StandardInput.Close);
        ulong seed = 0;
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            string[] words = line.Split(' ', 3);
            seed = ulong.Parse(words[1], CultureInfo.InvariantCulture);
            Take(seed, words);
        }

        await process.WaitForExitAsync();
        if (process.ExitCode != 0)
        {
            Lose(seed, $"The process of seed {seed} broke down with {process.ExitCode}.");
            _over.Cancel();
        }
    }

    /// <summary>A line of a job.</summary>
    private void Take(ulong seed, string[] words)
    {
        if (words[0] == SoakJob.Lived)
        {
            int[] counts = [.. words[2].Split(' ').Select(w => int.Parse(w, CultureInfo.InvariantCulture))];
            lock (Tally)
            {
                Tally.Add(seed, LifeCounts.Of(counts));
            }
        }
        else if (words[0] == SoakJob.Lost)
        {
            Lose(seed, words[2].Replace(SoakJob.LineBreak, '\n'));
        }
    }

    /// <summary>A life was lost. So many of them end the soak.</summary>
    private void Lose(ulong seed, string report)
    {
        lock (Tally)
        {
            Console.WriteLine(report);
            _losses.Add($"To repeat it: {Life.CommandOf(seed)}");
            if (_losses.Count < options.Losses)
            {
                return;
            }
        }

        _over.Cancel();
    }

    private Process Start(int index)
    {
        string level = (options.Seeds.Level ?? -1).ToString(CultureInfo.InvariantCulture);
        string program = typeof(Soaking).Assembly.Location;
        FormattableString arguments = $"exec {program} soak-job {options.Seeds.First} {level} {index} {options.Jobs} {options.Lives}";
        return Process.Start(new ProcessStartInfo("dotnet", arguments.ToString(CultureInfo.InvariantCulture).Split(' '))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
    }
}
