using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Fakes;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk.Tests;

/// <summary>Plays /dev/ublk-control with a few devices.</summary>
internal sealed class FakeControl : IUblkControl
{
    public JumpingTime Time { get; } = new();

    public TimeProvider Clock => Time;

    public Dictionary<uint, ublksrv_ctrl_dev_info> Devices { get; } = [];

    public Dictionary<uint, ublk_params> Parameters { get; } = [];

    /// <summary>Commands in the order in which they came.</summary>
    public List<(uint Command, uint Device, ulong Data)> Sent { get; } = [];

    /// <summary>Results for the next START_USER_RECOVERY commands; then 0.</summary>
    public Queue<int> RecoveryResults { get; } = new();

    /// <summary>Results for the next SET_PARAMS commands; then 0.</summary>
    public Queue<int> ParameterResults { get; } = new();

    /// <summary>Result of STOP_DEV and DEL_DEV.</summary>
    public int StopResult { get; set; }

    public int DeleteResult { get; set; }

    public UblkFeatures Features { get; set; } = (UblkFeatures)0x1fffff;

    public void Add(uint number, ushort state, int pid, ulong mark, UblkFeatures flags = UblkFeatures.None) =>
        Devices[number] = new ublksrv_ctrl_dev_info
        {
            dev_id = number, state = state, ublksrv_pid = pid, ublksrv_flags = mark, flags = (ulong)flags, nr_hw_queues = 2, queue_depth = 64,
        };

    public Task<int> SendAsync(uint command, uint device, ulong data, byte[] payload, TimeSpan timeout)
    {
        Sent.Add((command, device, data));
        return Task.FromResult(Answer(command, device, payload));
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private int Answer(uint command, uint device, byte[] payload)
    {
        if (command == UBLK_U_CMD_GET_FEATURES)
        {
            MemoryMarshal.Write(payload, (ulong)Features);
            return 0;
        }

        if (command == UBLK_U_CMD_ADD_DEV)
        {
            Devices[device] = MemoryMarshal.Read<ublksrv_ctrl_dev_info>(payload);
            return 0;
        }

        if (!Devices.TryGetValue(device, out ublksrv_ctrl_dev_info info))
        {
            return -Errno.ENODEV;
        }

        switch (command)
        {
            case UBLK_U_CMD_GET_DEV_INFO:
                Assert.Equal(Unsafe.SizeOf<ublksrv_ctrl_dev_info>(), payload.Length);
                MemoryMarshal.Write(payload, info);
                return 0;
            case UBLK_U_CMD_GET_PARAMS:
                Assert.Equal((uint)payload.Length, MemoryMarshal.Read<ublk_params>(payload).len);
                MemoryMarshal.Write(payload, Parameters.GetValueOrDefault(device));
                return 0;
            case UBLK_U_CMD_SET_PARAMS:
                return ParameterResults.TryDequeue(out int taken) ? taken : 0;
            case UBLK_U_CMD_START_USER_RECOVERY:
                return RecoveryResults.TryDequeue(out int result) ? result : 0;
            case UBLK_U_CMD_STOP_DEV:
                return StopResult;
            case UBLK_U_CMD_DEL_DEV:
                Devices.Remove(device);
                return DeleteResult;
            default:
                Assert.Fail($"Command 0x{command:x} was not expected.");
                return 0;
        }
    }
}
