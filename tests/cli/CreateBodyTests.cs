// What a volume is asked for over the API is what was asked for on the command line, whatever a wish may come to have.

using System.Collections;
using System.Reflection;
using Polyblk.Api;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class CreateBodyTests
{
    [Fact]
    public void NothingOfAWishIsLostOnItsWay()
    {
        var wish = new VolumeWish("data", "raid60", ["/dev/a", "/dev/b"])
        {
            Groups = 3, ChunkBytes = 4096, SizeBytes = 1 << 20, Consistency = "bitmap", Checksums = true, Force = true, Isolate = true,
        };
        var nothing = new VolumeWish("", "", []);
        VolumeWish came = CreateBody.Of(wish).ToWish();
        foreach (PropertyInfo property in typeof(VolumeWish).GetProperties().Where(p => p.CanWrite))
        {
            object? its = property.GetValue(wish);
            Assert.True(!Equals(its, property.GetValue(nothing)), $"{property.Name} is to be something else here than usual");
            if (its is IEnumerable list and not string)
            {
                Assert.Equal(list.Cast<object>(), ((IEnumerable)property.GetValue(came)!).Cast<object>());
            }
            else
            {
                Assert.Equal((property.Name, its), (property.Name, property.GetValue(came)));
            }
        }
    }
}
