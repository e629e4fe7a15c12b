import java.net.Socket;

/** Connects to port 80 of a name and prints how many milliseconds that took. */
class Connect {
    public static void main(String[] words) throws Exception {
        long begun = System.nanoTime();
        new Socket(words[0], 80).close();
        System.out.println((System.nanoTime() - begun) / 1000000);
    }
}
