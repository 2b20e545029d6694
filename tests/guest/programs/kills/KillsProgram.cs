// Kills a daemon again and again while every door of its volumes is loaded, or has it succeeded (restarts), and holds against
// what was written all that is read: COUNT LOCK NAME=PATH... The lock is the daemon's file of that name, which has the number of
// the process that serves. Somebody starts a daemon anew that was killed. What is read by a door is what it wrote: doors of one
// volume have areas of their own.

using System.Diagnostics;
using System.Globalization;
using System.Text;
using Polyblk.Core.Interop;
using Polyblk.Drives.Files;
using Polyblk.GuestPrograms.Doors;

namespace Polyblk.GuestPrograms.Kills;

/// <summary>See the top of the file.</summary>
internal static class KillsProgram
{
    private const int SigKill = 9;
    private const int RequestsBetween = 40;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(120);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(5);

    /// <summary>Does what the words say, and returns the exit status.</summary>
    /// <param name="args">See the top of the file.</param>
    /// <param name="change">How a process is made to give its place to another one; null kills it.</param>
    public static int Run(string[] args, string[]? change = null)
    {
        if (args is not [var times, var lockFile, _, ..])
        {
            Console.Error.WriteLine("usage: kills|restarts COUNT LOCK NAME=PATH...");
            return 2;
        }

        try
        {
            VerifiedLoad[] loads = [.. args[2..].Select((door, i) => new VerifiedLoad(Door.OpenPatient(door), i))];
            List<double>[] waits = [.. loads.Select(_ => new List<double>())];
            AwaitRequests(loads);
            int count = int.Parse(times, CultureInfo.InvariantCulture);
            var random = new Random(count);
            for (int round = 0; round < count; round++)
            {
                Thread.Sleep(random.Next(50));
                Array.ForEach(loads, load => load.TakeLongest());
                int before = Serving(lockFile);
                End(before, change);
                Await(() => Serving(lockFile) is var now && now > 1 && now != before, "another process to serve");
                AwaitRequests(loads);
                for (int i = 0; i < loads.Length; i++)
                {
                    waits[i].Add(loads[i].TakeLongest());
                }
            }

            for (int i = 0; i < loads.Length; i++)
            {
                long requests = loads[i].Requests;
                loads[i].End();
                waits[i].Sort();
                Console.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{loads[i].Name}: {requests} requests, none failed, over {count} changes; longest wait at one: "
                    + $"median {waits[i][count / 2]:F0} ms, most {waits[i][^1]:F0} ms"));
            }

            return 0;
        }
        catch (IOException e)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    private static void End(int process, string[]? change)
    {
        if (change is null)
        {
            if (process <= 1 || Libc.kill(process, SigKill) != 0)
            {
                throw new IOException($"process {process} cannot be killed");
            }

            return;
        }

        using Process program = Process.Start(change[0], change[1..]);
        program.WaitForExit();
        if (program.ExitCode != 0)
        {
            throw new IOException($"{string.Join(' ', change)} ended with {program.ExitCode}");
        }
    }

    /// <summary>Waits until every load has done something more.</summary>
    private static void AwaitRequests(VerifiedLoad[] loads)
    {
        foreach (VerifiedLoad load in loads)
        {
            long enough = load.Requests + RequestsBetween;
            Await(() => load.Requests >= enough, $"{load.Name} to go on");
        }
    }

    private static void Await(Func<bool> condition, string what)
    {
        for (long began = Stopwatch.GetTimestamp(); !condition(); Thread.Sleep(s_look))
        {
            if (Stopwatch.GetElapsedTime(began) > s_limit)
            {
                throw new IOException($"waited in vain for {what}");
            }
        }
    }

    /// <summary>
    /// The process that serves: read without the lock that the framework's streams would take. 0 while there is none.
    /// </summary>
    private static int Serving(string lockFile)
    {
        using DriveReader file = DriveReader.Open(lockFile);
        byte[] text = new byte[16];
        int read = file.ReadAsync(0, text, CancellationToken.None).GetAwaiter().GetResult();
        return int.TryParse(Encoding.ASCII.GetString(text, 0, read).Trim(), CultureInfo.InvariantCulture, out int pid) ? pid : 0;
    }
}
