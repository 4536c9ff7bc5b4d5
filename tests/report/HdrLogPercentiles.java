import java.io.File;
import org.HdrHistogram.EncodableHistogram;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.HistogramLogReader;

// Prints what HdrHistogram's own reader finds in a log: a line for each histogram, with its tag, its
// count, and p50, p90, p99 and p99.9 in ns.
class HdrLogPercentiles {
  public static void main(String[] arguments) throws Exception {
    HistogramLogReader reader = new HistogramLogReader(new File(arguments[0]));
    while (reader.hasNext()) {
      EncodableHistogram next = reader.nextIntervalHistogram();
      if (next == null) break;
      Histogram histogram = (Histogram) next;
      System.out.println(histogram.getTag() + " " + histogram.getTotalCount() + " "
          + histogram.getValueAtPercentile(50) + " " + histogram.getValueAtPercentile(90) + " "
          + histogram.getValueAtPercentile(99) + " " + histogram.getValueAtPercentile(99.9));
    }
  }
}
