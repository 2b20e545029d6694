// The load for vhost-user-blk sockets: a closed loop over a virtio driver in user space (Clients), polling.
//
// One thread for each queue, as far as there are processors; a thread that has several queues goes round them. A completed
// request is replaced at once, so that the depth stays constant. Nothing in the loop allocates.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Clients;
using Polyblk.Compare.Clients.Blkio;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Reactors;

namespace Polyblk.Compare.Load;

/// <summary>Drives vhost-user-blk with a driver in user space.</summary>
public sealed class VhostUserLoad(IVirtioDriver driver) : ILoadGenerator
{
    /// <summary>
    /// With the driver that is not this program's where it is installed, so that target and load have different makers.
    /// </summary>
    public VhostUserLoad()
        : this(BlkioDriver.IsInstalled ? new BlkioDriver() : new BuiltInDriver())
    {
    }

    /// <summary>How long a target may take to answer, and to let go, before it is taken to stand still.</summary>
    public TimeSpan Patience { get; init; } = LoadPhase.DefaultPatience;

    /// <inheritdoc/>
    public string Name => driver.Name;

    /// <inheritdoc/>
    public bool CountsNotifications => driver.CountsNotifications;

    /// <inheritdoc/>
    public bool CanDrive(LoadEndpoint endpoint) => endpoint is VhostUserEndpoint;

    /// <inheritdoc/>
    public Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) =>
        DataVerifier.VerifyAsync(endpoint, seed, cancellation);

    /// <inheritdoc/>
    public async Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        var target = (VhostUserEndpoint)endpoint;
        int depth = workload.TotalDepth;
        int queues = Math.Min(target.Queues, depth);
        IVirtioDisk client = await AttachAsync(target, queues, (depth + queues - 1) / queues, workload, cancellation).ConfigureAwait(false);
        try
        {
            return await RunAsync(client, Math.Min(target.SizeBytes, client.CapacityBytes), workload, settings, onMeasuring, cancellation).ConfigureAwait(false);
        }
        finally
        {
            await BlockingCall.EndAsync(client.Dispose, LoadPhase.AtEnd(Patience, cancellation)).ConfigureAwait(false);
        }
    }

    /// <exception cref="MethodException">The target does not answer, which is final.</exception>
    private async Task<IVirtioDisk> AttachAsync(VhostUserEndpoint target, int queues, int depth, Workload workload, CancellationToken cancellation)
    {
        try
        {
            return await BlockingCall.RunAsync(
                () => driver.Attach(target.SocketPath, queues, depth, Math.Max(4096, workload.BlockBytes), target.Kept is not null),
                late => late.Dispose(), Patience, cancellation).ConfigureAwait(false);
        }
        catch (TimeoutException e)
        {
            throw new MethodException(
                string.Create(CultureInfo.InvariantCulture, $"it stands still: its attachment was not answered in {Patience.TotalSeconds:0.#} s"), e) { IsFinal = true };
        }
    }

    private async Task<LoadResult> RunAsync(
        IVirtioDisk client, long size, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        int depth = workload.TotalDepth;
        int queues = client.Queues.Count;
        var phase = new LoadPhase { Patience = Patience };
        var jobs = new JobOffsets(size, workload);
        int[] depths = Depths(depth, queues);
        int threads = Math.Min(queues, Math.Max(1, settings.Cpus.Count));
        Worker[] workers =
        [
            .. Enumerable.Range(0, threads).Select(t => new Worker(
                [.. Enumerable.Range(0, queues).Where(q => q % threads == t).Select(q => new DrivenQueue(client.Queues[q], depths[q], depths[..q].Sum()))], workload, jobs, size,
                settings.Cpus.Count > 0 ? settings.Cpus[t] : null, settings.Seed + (ulong)t, phase)),
        ];
        (ThreadReading Own, long Notifications) before = (ThreadReading.Empty, 0);
        (ThreadReading Own, long Notifications) after = before;
        void OnMeasuring(bool begins)
        {
            var now = (ProcessCpu.Read(Environment.ProcessId), client.Queues.Sum(q => q.Notifications));
            (before, after) = begins ? (now, now) : (before, now);
            onMeasuring(begins);
        }

        Task all = Task.WhenAll(workers.Select(w => w.Start()));
        double seconds;
        try
        {
            seconds = await phase.LeadAsync(settings, depth, () => workers.Sum(w => w.Answered), OnMeasuring, all, cancellation).ConfigureAwait(false);
        }
        finally
        {
            // The rings are shared memory of the client: no thread may touch them when it is disposed.
            await Task.WhenAny(all).ConfigureAwait(false);
        }

        await all.ConfigureAwait(false);
        client.Detach();
        ThreadUse used = after.Own.Since(before.Own);
        return LoadPhase.Result(workers.Select(w => w.Latencies), workload, seconds, workers.Sum(w => w.Errors), used.CpuNs) with
        {
            LoadContextSwitches = used.ContextSwitches,
            Notifications = driver.CountsNotifications ? after.Notifications - before.Notifications : null,
        };
    }

    /// <summary>How deep each queue is driven: the depth is spread evenly, the first queues get what is left over.</summary>
    private static int[] Depths(int depth, int queues) => [.. Enumerable.Range(0, queues).Select(q => (depth / queues) + (q < depth % queues ? 1 : 0))];

    /// <param name="Queue">The queue.</param>
    /// <param name="Depth">How deep it is driven.</param>
    /// <param name="FirstSlot">The number of its first slot, counted over all queues: by it a request belongs to a job.</param>
    private readonly record struct DrivenQueue(IVirtioQueue Queue, int Depth, int FirstSlot);

    private sealed class Worker(
        DrivenQueue[] queues, Workload workload, JobOffsets jobs, long sizeBytes, int? cpu, ulong seed, LoadPhase phase)
    {
        private const int Batch = 64;
        private const int EmptyPollsBeforeYield = 20_000;
        private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly long[][] _submitted = [.. queues.Select(q => new long[q.Depth])];

        // Random jobs draw from one stream a thread: apart, they would have the same distribution.
        private OffsetStream _random = new(seed, sizeBytes, workload.BlockBytes, random: true);

        public LatencyHistogram Latencies { get; } = new();

        public long Errors { get; private set; }

        /// <summary>Requests that were answered, in whatever phase.</summary>
        public long Answered { get; private set; }

        public Task Start()
        {
            new Thread(Main) { IsBackground = true, Name = "load" }.Start();
            return _done.Task;
        }

        private void Main()
        {
            try
            {
                if (cpu is int pinned)
                {
                    _ = CpuSet.PinCurrentThread(pinned);
                }

                Run();
                _done.SetResult();
            }
#pragma warning disable CA1031 // Whatever went wrong goes to the caller.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _done.SetException(e);
            }
        }

        private void Run()
        {
            var operation = workload.IsWrite ? ClientOperation.Write : ClientOperation.Read;
            for (int q = 0; q < queues.Length; q++)
            {
                for (int slot = 0; slot < queues[q].Depth; slot++)
                {
                    new Random((int)seed + slot).NextBytes(queues[q].Queue.Buffer(slot)[..workload.BlockBytes]);
                    Submit(q, slot, operation);
                }

                queues[q].Queue.Publish();
            }

            Span<ClientCompletion> completions = stackalloc ClientCompletion[Batch];
            int empty = 0;
            while (!phase.IsEnding)
            {
                int found = 0;
                for (int q = 0; q < queues.Length; q++)
                {
                    int count = queues[q].Queue.Poll(completions);
                    if (count != 0)
                    {
                        Count(q, completions[..count]);
                        for (int i = 0; i < count; i++)
                        {
                            Submit(q, completions[i].Slot, operation);
                        }

                        queues[q].Queue.Publish();
                        found += count;
                    }
                }

                empty = found != 0 ? 0 : empty + 1;
                if (empty == EmptyPollsBeforeYield)
                {
                    // Perhaps the target runs on this processor.
                    Thread.Yield();
                    empty = 0;
                }
            }

            Drain(completions);
        }

        private void Submit(int queue, int slot, ClientOperation operation)
        {
            _submitted[queue][slot] = Stopwatch.GetTimestamp();
            long offset = workload.IsRandom ? _random.Next() : jobs.Next(queues[queue].FirstSlot + slot);
            queues[queue].Queue.Submit(slot, operation, offset, workload.BlockBytes);
        }

        private void Count(int queue, ReadOnlySpan<ClientCompletion> completions)
        {
            Answered += completions.Length;
            bool counting = phase.IsCounting;
            long now = Stopwatch.GetTimestamp();
            foreach (ref readonly ClientCompletion completion in completions)
            {
                Errors += completion.Status == 0 ? 0 : 1;
                if (counting)
                {
                    Latencies.Add(now - _submitted[queue][completion.Slot]);
                }
            }
        }

        private void Drain(Span<ClientCompletion> completions)
        {
            long start = Stopwatch.GetTimestamp();
            foreach ((IVirtioQueue queue, _, _) in queues)
            {
                while (queue.InFlight > 0)
                {
                    queue.Poll(completions);
                    if (Stopwatch.GetElapsedTime(start) > phase.DrainPatience)
                    {
                        throw new TimeoutException(string.Create(
                            CultureInfo.InvariantCulture, $"{queue.InFlight} requests were not answered in {phase.DrainPatience.TotalSeconds:0.#} s."));
                    }
                }
            }
        }
    }
}
